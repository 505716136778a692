/** Segments as blocks of a bar. */

import type { Segment } from "./answer";

const FULL_PX = 92; // room for "surprise 86 %" and its padding
const SHORT_PX = 40; // room for three letters

export type Room = "full" | "short" | "none";

/** A block: where it begins and ends as shares of the bar, and how much text it has room for. */
export interface Block {
  readonly segment: Segment;
  readonly left: number;
  readonly width: number;
  readonly room: Room;
}

/** Blocks of a bar of width_px; segments that reach beyond the clip are cut, empty ones left out. */
export function layOut(segments: readonly Segment[], durationS: number, widthPx: number): Block[] {
  if (!(durationS > 0)) return [];
  const share = (timeS: number): number => Math.min(Math.max(timeS / durationS, 0), 1);
  return segments.flatMap((segment) => {
    const left = share(segment.startS);
    const width = share(segment.endS) - left;
    return width > 0 ? [{ segment, left, width, room: chooseRoom(width * widthPx) }] : [];
  });
}

function chooseRoom(px: number): Room {
  if (px >= FULL_PX) return "full";
  return px >= SHORT_PX ? "short" : "none";
}
