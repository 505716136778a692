/** Frames and boxes to face crops, as features/face.py makes them. */

import type { FaceBox } from "./detector";
import { resizeLinear, type Rgb, shrinkArea } from "./image";
import { roundEven } from "./rounding";
import type { FaceSpec } from "./spec";

/** A square around a face; what lies outside the frame repeats its edge. */
export function cropFace(frame: Rgb, [x, y, width, height]: FaceBox, spec: FaceSpec): Rgb {
  const asked = Math.max(1, roundEven(Math.max(width, height) * (1 + 2 * spec.margin)));
  const halvings = Math.max(0, Math.floor(Math.log2(Math.max(1, Math.floor(asked / (2 * spec.sizePx))))));
  const side = roundEven(asked / 2 ** halvings) * 2 ** halvings;
  const left = roundEven(x + width / 2 - side / 2);
  const top = roundEven(y + height / 2 - side / 2);
  let square: Rgb = { data: new Uint8Array(side * side * 3), width: side, height: side };
  const clamp = (n: number, length: number): number => Math.min(Math.max(n, 0), length - 1);
  for (let row = 0, at = 0; row < side; row++) {
    const start = clamp(top + row, frame.height) * frame.width;
    for (let column = 0; column < side; column++) {
      const source = (start + clamp(left + column, frame.width)) * 3;
      square.data[at++] = frame.data[source] as number;
      square.data[at++] = frame.data[source + 1] as number;
      square.data[at++] = frame.data[source + 2] as number;
    }
  }
  for (let i = 0; i < halvings; i++) square = shrinkArea(square, square.width / 2, square.height / 2);
  const resize = square.width > spec.sizePx ? shrinkArea : resizeLinear;
  return square.width === spec.sizePx ? square : resize(square, spec.sizePx, spec.sizePx);
}

/** One crop; found: false where the box is a neighbour's. */
export interface Crop {
  readonly rgb: Rgb;
  readonly box: FaceBox;
  readonly timeS: number;
  readonly found: boolean;
}

interface Neighbour {
  readonly timeS: number;
  readonly box: FaceBox;
}

/** Crops of a clip's frames; one without a face takes the box of the neighbour nearest in time. */
export class FaceTrack {
  readonly crops: Crop[] = [];
  private waiting: { frame: Rgb; timeS: number }[] = [];
  private last: Neighbour | null = null;

  constructor(private readonly spec: FaceSpec) {}

  /** Take the next frame, and its face's box if it has one. */
  add(frame: Rgb, timeS: number, box: FaceBox | null): void {
    if (!box) {
      this.waiting.push({ frame, timeS });
      while (this.waiting[0] && timeS - this.waiting[0].timeS > this.spec.maxGapS) this.settle(null);
      return;
    }
    while (this.waiting.length) this.settle({ timeS, box });
    this.keep(frame, timeS, box, true);
    this.last = { timeS, box };
  }

  /** No further frame comes. */
  finish(): void {
    while (this.waiting.length) this.settle(null);
  }

  private settle(after: Neighbour | null): void {
    const next = this.waiting.shift();
    if (!next) return;
    const { frame, timeS } = next;
    const far = (n: Neighbour): number => Math.abs(n.timeS - timeS);
    const near = [this.last, after].filter((n) => n !== null).sort((a, b) => far(a) - far(b))[0];
    if (near && far(near) <= this.spec.maxGapS) this.keep(frame, timeS, near.box, false);
  }

  private keep(frame: Rgb, timeS: number, box: FaceBox, found: boolean): void {
    this.crops.push({ rgb: cropFace(frame, box, this.spec), box, timeS, found });
  }
}
