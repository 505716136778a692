/** The sizes at which P-Net sees a picture, as features/pyramid.py has them. */

import type { Corners } from "./boxes";
import { cut, type Floats, shrinkArea } from "./image";
import { roundEven } from "./rounding";

export const CELL_PX = 12; // P-Net's window
export const STRIDE_PX = 2;
const BASE_FACE_PX = 20;
const SCALE_FACTOR = 0.709;
/** Near a known box: side of the region over the box's, and windows over the box's side. */
const REGION = 1.3;
const WINDOWS = [0.5, 1.2] as const;
const FINER = 4;

/** A level, or its part from (left, top). */
export interface Level {
  readonly image: Floats;
  readonly scale: number;
  readonly left: number;
  readonly top: number;
}

/** Scales at which a window of 12 px meets faces of minFacePx and more. */
export function listScales(height: number, width: number, minFacePx: number): number[] {
  const scales: number[] = [];
  for (let scale = CELL_PX / BASE_FACE_PX; Math.trunc(Math.min(height, width) * scale) >= CELL_PX; scale *= SCALE_FACTOR) {
    if (CELL_PX / (scale * SCALE_FACTOR) > minFacePx) scales.push(scale);
  }
  return scales;
}

/** All levels, whole. */
export function* makeLevels(image: Floats, scales: readonly number[]): Generator<Level> {
  for (const scale of scales) {
    const level = shrinkArea(image, Math.trunc(image.width * scale), Math.trunc(image.height * scale));
    yield { image: level, scale, left: 0, top: 0 };
  }
}

/** The parts of levels that show faces about as large as, and near, square boxes. */
export function* makeLevelsNear(image: Floats, scales: readonly number[], boxes: readonly Corners[]): Generator<Level> {
  const halved = [image];
  for (const [x1, y1, x2, y2] of boxes) {
    const side = Math.max(x2 - x1, 1);
    for (const scale of scales) {
      const window = CELL_PX / scale;
      if (window / side < WINDOWS[0] || window / side > WINDOWS[1]) continue;
      const times = Math.max(0, Math.trunc(Math.log2(Math.max(1, 1 / (scale * FINER)))));
      while (halved.length <= times) {
        const last = halved[halved.length - 1] as Floats;
        halved.push(shrinkArea(last, Math.max(1, last.width >> 1), Math.max(1, last.height >> 1)));
      }
      const reach = Math.max(side * REGION, window) / 2;
      const columns = findCells((x1 + x2) / 2, reach, scale, image.width);
      const rows = findCells((y1 + y2) / 2, reach, scale, image.height);
      const size = [Math.trunc(image.height * scale), Math.trunc(image.width * scale)] as const;
      const level = cutLevel(halved[times] as Floats, size, rows, columns);
      if (level) yield { image: level, scale, left: columns[0], top: rows[0] };
    }
  }
}

type Span = readonly [first: number, end: number];

function findCells(centre: number, reach: number, scale: number, length: number): Span {
  const first = Math.floor(Math.trunc(Math.max(0, centre - reach) * scale) / STRIDE_PX) * STRIDE_PX;
  return [first, Math.min(Math.trunc(length * scale), Math.ceil((centre + reach) * scale))];
}

function cutLevel(image: Floats, size: Span, [top, bottom]: Span, [left, right]: Span): Floats | null {
  if (Math.min(bottom - top, right - left) < CELL_PX) return null;
  const [y, x] = [image.height / size[0], image.width / size[1]];
  const at = (n: number, by: number, end: number): number => Math.min(roundEven(n * by), end);
  const part = cut(
    image,
    at(left, x, image.width),
    at(top, y, image.height),
    at(right, x, image.width),
    at(bottom, y, image.height),
  );
  return shrinkArea(part, right - left, bottom - top);
}
