/** The answer as the chart wants it. */

import type { Answer } from "./answer";
import { EMOTIONS } from "./emotions";
import { middleOf } from "./moments";

/**
 * Columns for uPlot: times, then a column an emotion. A window stands at its middle; the first and
 * the last also speak for what lies before and after.
 */
export function listColumns(answer: Answer): [number[], ...(number | null)[][]] {
  const { windows, durationS } = answer;
  const first = windows[0];
  const last = windows[windows.length - 1];
  if (!first || !last) return [[], ...EMOTIONS.map(() => [])];
  const rows = [first, ...windows, last];
  const times = [0, ...windows.map(middleOf), durationS];
  return [times, ...EMOTIONS.map((name) => rows.map((w) => w.probs?.[name] ?? null))];
}
