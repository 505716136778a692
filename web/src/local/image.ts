/** Pictures, and OpenCV's ways to make them smaller or larger. */

import { roundEven } from "./rounding";

type Pixels = Uint8Array | Float32Array;

/** RGB, row by row: bytes, or floats in -1..1. */
export interface Picture<T extends Pixels = Pixels> {
  readonly data: T;
  readonly width: number;
  readonly height: number;
}
export type Rgb = Picture<Uint8Array>;
export type Floats = Picture<Float32Array>;

/** A part of a picture; columns and rows from, to. */
export function cut<T extends Pixels>(from: Picture<T>, left: number, top: number, right: number, bottom: number): Picture<T> {
  const [width, height] = [right - left, bottom - top];
  const data = make(from.data, width * height * 3);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * from.width + left) * 3;
    data.set(from.data.subarray(start, start + width * 3) as never, y * width * 3);
  }
  return { data, width, height };
}

function make<T extends Pixels>(like: T, length: number): T {
  return (like instanceof Uint8Array ? new Uint8Array(length) : new Float32Array(length)) as T;
}

/** cv2.resize with INTER_AREA, of a picture that becomes smaller in both directions. */
export function shrinkArea<T extends Pixels>(
  from: Picture<T>,
  width: number,
  height: number,
  channels = 3,
): Picture<T> {
  if (width === from.width && height === from.height) return from;
  const [scaleX, scaleY] = [from.width / width, from.height / height];
  if (Number.isInteger(scaleX) && Number.isInteger(scaleY)) {
    return averageBlocks(from, width, height, scaleX, scaleY, channels);
  }
  const data = make(from.data, width * height * channels);
  const columns = weigh(from.width, width, scaleX);
  const rows = weigh(from.height, height, scaleY);
  const line = new Float32Array(width * channels);
  const sums = new Float32Array(width * channels);
  for (let y = 0, at = 0; y < height; y++) {
    sums.fill(0);
    for (; at < rows.to.length && rows.to[at] === y; at++) {
      addLine(from, rows.from[at] ?? 0, columns, line, channels);
      const weight = rows.weight[at] ?? 0;
      for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + weight * (line[i] ?? 0);
    }
    store(data, y * width * channels, sums);
  }
  return { data, width, height };
}

/** How much each source pixel counts in each target pixel, in order. */
interface Weights {
  readonly from: number[];
  readonly to: number[];
  readonly weight: number[];
}

function weigh(nFrom: number, nTo: number, scale: number): Weights {
  const weights: Weights = { from: [], to: [], weight: [] };
  const add = (from: number, to: number, weight: number): void => {
    weights.from.push(from);
    weights.to.push(to);
    weights.weight.push(Math.fround(weight));
  };
  for (let to = 0; to < nTo; to++) {
    const start = to * scale;
    const end = start + scale;
    const width = Math.min(scale, nFrom - start);
    const last = Math.min(Math.floor(end), nFrom - 1);
    const first = Math.min(Math.ceil(start), last);
    if (first - start > 1e-3) add(first - 1, to, (first - start) / width);
    for (let from = first; from < last; from++) add(from, to, 1 / width);
    if (end - last > 1e-3) add(last, to, Math.min(end - last, 1, width) / width);
  }
  return weights;
}

function addLine(from: Picture, row: number, weights: Weights, line: Float32Array, channels: number): void {
  line.fill(0);
  const { data } = from;
  const { from: source, to, weight } = weights;
  const start = row * from.width * channels;
  for (let k = 0; k < source.length; k++) {
    const s = start + (source[k] as number) * channels;
    const d = (to[k] as number) * channels;
    const w = weight[k] as number;
    for (let c = 0; c < channels; c++) line[d + c] = (line[d + c] as number) + (data[s + c] as number) * w;
  }
}

function store(data: Pixels, start: number, values: Float32Array): void {
  if (data instanceof Float32Array) data.set(values, start);
  else for (let i = 0; i < values.length; i++) data[start + i] = clampByte(roundEven(values[i] as number));
}

function averageBlocks<T extends Pixels>(
  from: Picture<T>,
  width: number,
  height: number,
  nX: number,
  nY: number,
  channels: number,
): Picture<T> {
  const data = make(from.data, width * height * channels);
  const bytes = data instanceof Uint8Array;
  const scale = Math.fround(1 / (nX * nY));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let dy = 0; dy < nY; dy++) {
          const start = ((y * nY + dy) * from.width + x * nX) * channels + c;
          for (let dx = 0; dx < nX; dx++) sum += from.data[start + dx * channels] as number;
        }
        // of 2 x 2 bytes OpenCV rounds halves up, else to even
        const mean = bytes ? (nX === 2 && nY === 2 ? (sum + 2) >> 2 : roundEven(Math.fround(sum * scale))) : sum * scale;
        data[(y * width + x) * channels + c] = mean;
      }
    }
  }
  return { data, width, height };
}

const BITS = 11; // of OpenCV's weights

/** cv2.resize with INTER_LINEAR, of bytes. */
export function resizeLinear(from: Rgb, width: number, height: number): Rgb {
  const columns = placeLinear(from.width, width);
  const rows = placeLinear(from.height, height);
  const data = new Uint8Array(width * height * 3);
  const line = (row: number): Int32Array => {
    const out = new Int32Array(width * 3);
    for (let x = 0; x < width; x++) {
      const [at, next, a, b] = columns[x] as Place;
      for (let c = 0; c < 3; c++) {
        const start = row * from.width * 3 + c;
        out[x * 3 + c] = (from.data[start + at * 3] as number) * a + (from.data[start + next * 3] as number) * b;
      }
    }
    return out;
  };
  for (let y = 0; y < height; y++) {
    const [at, next, a, b] = rows[y] as Place;
    const [upper, lower] = [line(at), line(next)];
    for (let i = 0; i < width * 3; i++) {
      const sum = ((a * ((upper[i] as number) >> 4)) >> 16) + ((b * ((lower[i] as number) >> 4)) >> 16);
      data[y * width * 3 + i] = clampByte((sum + 2) >> 2);
    }
  }
  return { data, width, height };
}

type Place = readonly [at: number, next: number, weightAt: number, weightNext: number];

function placeLinear(nFrom: number, nTo: number): Place[] {
  const scale = nFrom / nTo;
  return Array.from({ length: nTo }, (_, to) => {
    const place = Math.fround((to + 0.5) * scale - 0.5);
    let at = Math.floor(place);
    let part = Math.fround(place - at);
    if (at < 0) [at, part] = [0, 0];
    if (at + 1 >= nFrom) [at, part] = [nFrom - 1, 0];
    const whole = 1 << BITS;
    return [at, Math.min(at + 1, nFrom - 1), roundEven(Math.fround(1 - part) * whole), roundEven(part * whole)];
  });
}

function clampByte(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
