/** The arithmetic of boxes and crops that MTCNN's three networks share, as features/boxes.py has it. */

import type { Floats } from "./image";

/** x1, y1, x2, y2 in px. */
export type Corners = readonly [number, number, number, number];
export interface Scored {
  readonly box: Corners;
  readonly score: number;
}

const MAX_PROPOSALS = 1024;
const { fround } = Math;

/** Boxes of a picture as crops of sizePx, one after the other; what lies outside is 0. */
export function cropBilinear(image: Floats, boxes: readonly Corners[], sizePx: number): Float32Array {
  const out = new Float32Array(boxes.length * sizePx * sizePx * 3);
  const { data, width, height } = image;
  let at = 0;
  for (const [x1, y1, x2, y2] of boxes) {
    const xs = placeSamples(x1, x2, width, sizePx);
    const ys = placeSamples(y1, y2, height, sizePx);
    for (const y of ys) {
      const top = Math.trunc(y.at);
      const bottom = Math.min(top + 1, height - 1);
      const down = fround(y.at - top);
      for (const x of xs) {
        if (!y.inside || !x.inside) {
          at += 3;
          continue;
        }
        const left = Math.trunc(x.at);
        const right = Math.min(left + 1, width - 1);
        const along = fround(x.at - left);
        for (let c = 0; c < 3; c++) {
          const px = (row: number, column: number): number => data[(row * width + column) * 3 + c] as number;
          const upper = fround(px(top, left) + fround(fround(px(top, right) - px(top, left)) * along));
          const lower = fround(px(bottom, left) + fround(fround(px(bottom, right) - px(bottom, left)) * along));
          out[at++] = upper + fround(fround(lower - upper) * down);
        }
      }
    }
  }
  return out;
}

function placeSamples(start: number, end: number, length: number, sizePx: number): { at: number; inside: boolean }[] {
  const share = (length - 1) / length;
  const [from, to] = [start * share, end * share];
  const step = (to - from) / (sizePx - 1);
  return Array.from({ length: sizePx }, (_, i) => {
    const at = from + i * step;
    return { at: Math.min(Math.max(at, 0), length - 1), inside: at >= 0 && at <= length - 1 };
  });
}

/** A box moved by a network's answer, given in its width and height. */
export function regress([x1, y1, x2, y2]: Corners, by: ArrayLike<number>, at: number): Corners {
  const [width, height] = [x2 - x1 + 1, y2 - y1 + 1];
  const move = (i: number): number => by[at + i] as number;
  return [x1 + move(0) * width, y1 + move(1) * height, x2 + move(2) * width, y2 + move(3) * height];
}

/** Grown to its longer side about its centre. */
export function toSquare([x1, y1, x2, y2]: Corners): Corners {
  const [x, y, half] = [(x1 + x2) / 2, (y1 + y2) / 2, Math.max(x2 - x1, y2 - y1) / 2];
  return [x - half, y - half, x + half, y + half];
}

/** By score, of equal ones the later first. */
export function sortBest(found: readonly Scored[]): Scored[] {
  const order = found.map((_, i) => i);
  order.sort((a, b) => (found[b] as Scored).score - (found[a] as Scored).score || b - a);
  return order.map((i) => found[i] as Scored);
}

/** Those that no better one overlaps, best first. */
export function suppress(found: readonly Scored[], threshold: number): Scored[] {
  if (found.length < 2) return [...found];
  return leaveApart(sortBest(found).slice(0, MAX_PROPOSALS), threshold);
}

/**
 * Boxes, best first, without those that a better one overlaps by more than threshold; a box that
 * is left out leaves out others too. ofSmaller: of the smaller area instead of the union.
 */
export function leaveApart(found: readonly Scored[], threshold: number, ofSmaller = false): Scored[] {
  const boxes = found.map(({ box }) => box.map(fround) as unknown as Corners);
  const areas = boxes.map(([x1, y1, x2, y2]) => fround(Math.max(fround(x2 - x1), 0) * Math.max(fround(y2 - y1), 0)));
  const limit = fround(threshold);
  return found.filter((_, j) => {
    const [x1, y1, x2, y2] = boxes[j] as Corners;
    const area = areas[j] as number;
    for (let i = 0; i < j; i++) {
      const other = boxes[i] as Corners;
      const width = fround(Math.min(x2, other[2]) - Math.max(x1, other[0]));
      const height = fround(Math.min(y2, other[3]) - Math.max(y1, other[1]));
      const shared = fround(Math.max(width, 0) * Math.max(height, 0));
      const beside = areas[i] as number;
      const whole = ofSmaller ? Math.min(area, beside) : fround(fround(area + beside) - shared);
      if (shared > fround(limit * whole)) return false;
    }
    return true;
  });
}
