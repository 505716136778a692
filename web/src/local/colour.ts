/** Decoded planes to RGB, with swscale's own arithmetic. */

import { type Rgb, shrinkArea } from "./image";

/** Red from V, blue from U, green from U and V, in 16.16, as swscale has them. */
const TABLES = {
  bt709: [117489, 138438, 13975, 34925],
  smpte170m: [104597, 132201, 25675, 53279],
} as const;
export type Matrix = keyof typeof TABLES;

export interface Coding {
  readonly matrix: Matrix;
  readonly fullRange: boolean;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** One plane of bytes: where it starts in the buffer, and px from row to row and column to column. */
export interface Plane {
  readonly offset: number;
  readonly stride: number;
  readonly step: number;
}

/**
 * Luma and halved chroma as RGB. Chroma is repeated, not smoothed, and products are cut to whole
 * numbers, one by one: bit by bit what swscale makes of pictures of even height on x86.
 */
export function toRgb(
  data: Uint8Array,
  width: number,
  height: number,
  [luma, u, v]: readonly [Plane, Plane, Plane],
  { matrix, fullRange }: Coding,
): Rgb {
  const table = TABLES[matrix].map((n) => (fullRange ? Math.trunc((n * 224) / 255) : n)) as [number, number, number, number];
  const [redV, blueU, greenU, greenV] = table.map(toShort) as [number, number, number, number];
  const gain = toShort(fullRange ? 65536 : Math.floor((65536 * 255) / 219));
  const black = fullRange ? 0 : 16 << 3;
  const out = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    const row = luma.offset + y * luma.stride;
    const [rowU, rowV] = [u.offset + (y >> 1) * u.stride, v.offset + (y >> 1) * v.stride];
    for (let x = 0; x < width; x++) {
      const light = ((((data[row + x * luma.step] as number) << 3) - black) * gain) >> 16;
      const blue = ((data[rowU + (x >> 1) * u.step] as number) << 3) - 1024;
      const red = ((data[rowV + (x >> 1) * v.step] as number) << 3) - 1024;
      out[at++] = light + ((red * redV) >> 16);
      out[at++] = light + ((blue * -greenU) >> 16) + ((red * -greenV) >> 16);
      out[at++] = light + ((blue * blueU) >> 16);
    }
  }
  return { data: new Uint8Array(out.buffer), width, height };
}

/**
 * The same of a picture that is shrunk as it is converted: planes first, rounded to bytes, then by the
 * tables that swscale has for that, which are a level and a half darker. Equal to it but for one value in
 * ten, mostly by a level.
 */
export function toSmallRgb(
  data: Uint8Array,
  from: Size,
  planes: readonly [Plane, Plane, Plane],
  { matrix, fullRange }: Coding,
  { width, height }: Size,
): Rgb {
  const table = TABLES[matrix].map((n) => (fullRange ? Math.trunc((n * 224) / 255) : n));
  const gain = fullRange ? 65536 : Math.floor((65536 * 255) / 219);
  const scale = (n: number): number => Math.trunc((n * 65536 + 0x8000) / gain);
  const [redV, blueU, greenU, greenV] = table.map((n, i) => scale(i < 2 ? n : -n)) as [number, number, number, number];
  const shift = (value: number, by: number): number => Math.floor((value * by) / 65536) - Math.floor(by / 512);
  const start = (fullRange ? 384 : 326) * gain - (384 + (fullRange ? 0 : 16)) * 65536 + 0x8000;
  const light = (index: number): number => Math.floor((index * gain + start) / 65536);
  const half = (n: number): number => (n + 1) >> 1;
  const rounding = cutsPairs(from.height, height) ? 1e-3 : 0.5; // whole numbers stay whole
  const [luma, u, v] = planes.map((plane, i) => {
    const [w, h] = i ? [half(from.width), half(from.height)] : [from.width, from.height];
    return shrinkPlane(data, plane, { width: w, height: h }, { width: i ? half(width) : width, height }, rounding);
  }) as [Uint8Array, Uint8Array, Uint8Array];
  const out = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const chroma = y * half(width) + (x >> 1);
      const index = luma[y * width + x] as number;
      const [blue, red] = [u[chroma] as number, v[chroma] as number];
      out[at++] = light(index + shift(red, redV));
      out[at++] = light(index + shift(blue, greenU) + shift(red, greenV));
      out[at++] = light(index + shift(blue, blueU));
    }
  }
  return { data: new Uint8Array(out.buffer), width, height };
}

/**
 * Whether swscale mixes rows in pairs, luma and chroma: for that it has code that cuts where the other
 * rounds. So it is from 1080 rows to 720, where each takes two.
 */
function cutsPairs(height: number, toHeight: number): boolean {
  const scale = height / toHeight;
  const rows = Array.from({ length: toHeight }, (_, y) => Math.ceil((y + 1) * scale - SLIVER) - Math.floor(y * scale + SLIVER));
  return toHeight > (height + 1) >> 1 && Math.max(...rows) === 2;
}

const SLIVER = 2e-3; // of a row, which swscale leaves out

function shrinkPlane(data: Uint8Array, plane: Plane, from: Size, to: Size, rounding: number): Uint8Array {
  const { width, height } = from;
  const whole = new Float32Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    const row = plane.offset + y * plane.stride;
    for (let x = 0; x < width; x++) whole[at++] = data[row + x * plane.step] as number;
  }
  const narrow = shrinkArea({ data: whole, width, height }, to.width, Math.min(height, to.height), 1);
  const values = height < to.height ? growRows(narrow.data, to.width, to.height) : narrow.data;
  return Uint8Array.from(values, (value) => value + rounding);
}

/** More rows, each on the way from one to the next: halved chroma of a picture less than halved. */
function growRows(data: Float32Array, width: number, toHeight: number): Float32Array {
  const height = data.length / width;
  const out = new Float32Array(width * toHeight);
  for (let y = 0; y < toHeight; y++) {
    const place = Math.min(Math.max(((y + 0.5) * height) / toHeight - 0.5, 0), height - 1);
    const near = Math.floor(place);
    const far = Math.min(near + 1, height - 1);
    for (let x = 0; x < width; x++) {
      const [a, b] = [data[near * width + x] as number, data[far * width + x] as number];
      out[y * width + x] = a + (b - a) * (place - near);
    }
  }
  return out;
}

/** 16.16 as 13 bits after the point. */
function toShort(value: number): number {
  return Math.floor((value * (1 << 13) + (1 << 15)) / 65536);
}

/** A quarter turn to the left, as often as told. */
export function turnLeft(from: Rgb, turns: number): Rgb {
  let { data, width, height } = from;
  for (let turn = 0; turn < turns; turn++) {
    const turned = new Uint8Array(data.length);
    for (let y = 0; y < width; y++) {
      for (let x = 0; x < height; x++) {
        const source = (x * width + (width - 1 - y)) * 3;
        turned.set(data.subarray(source, source + 3), (y * height + x) * 3);
      }
    }
    [data, width, height] = [turned, height, width];
  }
  return { data, width, height };
}
