/** A decoded VideoFrame as the RGB that Python makes of it. */

import { type Coding, type Plane, type Size, toRgb, toSmallRgb, turnLeft } from "./colour";
import { type Rgb, shrinkArea } from "./image";
import { roundEven } from "./rounding";

/** Px of the upright picture, across and down, that one px stands for. */
export type Scale = readonly [number, number];

/**
 * maxPx: longer side, a larger picture is shrunk to it; 0: none is. turns: quarter turns to the
 * left that make it upright.
 */
export async function readFrame(frame: VideoFrame, maxPx: number, turns: number): Promise<{ rgb: Rgb; scale: Scale }> {
  const whole = frame.visibleRect ?? { width: frame.codedWidth, height: frame.codedHeight };
  const shrink = maxPx ? Math.min(1, maxPx / Math.max(whole.width, whole.height)) : 1;
  const fit = (n: number): number => Math.max(1, roundEven(n * shrink));
  const size = { width: fit(whole.width), height: fit(whole.height) };
  const rgb = await convert(frame, whole, size);
  const scale: Scale = [whole.width / rgb.width, whole.height / rgb.height];
  return { rgb: turnLeft(rgb, turns), scale: turns % 2 ? [scale[1], scale[0]] : scale };
}

async function convert(frame: VideoFrame, { width, height }: Size, size: Size): Promise<Rgb> {
  const planar = frame.format === "I420" || frame.format === "I420A" || frame.format === "NV12";
  if (!planar) return shrinkArea(await copyRgb(frame, width, height), size.width, size.height);
  const data = new Uint8Array(frame.allocationSize());
  const layout = await frame.copyTo(data);
  const [luma, first, second] = layout.map(({ offset, stride }): Plane => ({ offset, stride, step: 1 }));
  if (!luma || !first) throw new Error(`${frame.format} without planes`);
  const chroma: readonly [Plane, Plane] =
    frame.format === "NV12"
      ? [{ ...first, step: 2 }, { ...first, offset: first.offset + 1, step: 2 }]
      : [first, second ?? first];
  const coding = readCoding(frame.colorSpace);
  if (size.width < width) return toSmallRgb(data, { width, height }, [luma, ...chroma], coding, size);
  return toRgb(data, width, height, [luma, ...chroma], coding);
}

/** As FFmpeg takes it: what is not said to be BT.709 is BT.601, and limited unless said to be full. */
function readCoding(space: VideoColorSpace): Coding {
  return { matrix: space.matrix === "bt709" ? "bt709" : "smpte170m", fullRange: space.fullRange === true };
}

/** For rarer kinds, such as ten bits: the browser's own conversion. */
async function copyRgb(frame: VideoFrame, width: number, height: number): Promise<Rgb> {
  const options = { format: "RGBA" } as VideoFrameCopyToOptions;
  const rgba = new Uint8Array(frame.allocationSize(options));
  await frame.copyTo(rgba, options);
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) data.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  return { data, width, height };
}
