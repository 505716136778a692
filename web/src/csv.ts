/** The timeline as the command line's `--timeline --format csv` writes it. */

import type { Answer, TimeWindow } from "./answer";
import { EMOTIONS } from "./emotions";

export const HEADER = [
  "path", "start_s", "end_s", "label", ...EMOTIONS, "modalities", "states", "face_id",
  "x_px", "y_px", "width_px", "height_px",
] as const;

/** A header and a row a window. */
export function writeCsv(name: string, answer: Answer): string {
  return [HEADER, ...answer.windows.map((w) => listCells(name, w))].map(formatRow).join("");
}

function listCells(name: string, w: TimeWindow): string[] {
  const probs = EMOTIONS.map((e) => (w.probs ? w.probs[e].toFixed(6) : ""));
  const face = w.face ? [String(w.face.id ?? ""), ...w.face.box.map((side) => side.toFixed(1))] : ["", "", "", "", ""];
  return [
    name, w.startS.toFixed(3), w.endS.toFixed(3), w.label ?? "", ...probs,
    w.modalities.join("+"), w.states.join(" "), ...face,
  ];
}

function formatRow(cells: readonly string[]): string {
  return `${cells.map(quote).join(",")}\n`;
}

function quote(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
