/** From px of the video to px on the screen. */

import type { Box } from "./answer";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * A box of the video where the element shows it, letterboxed as object-fit: contain does, and cut
 * at the picture's edges. null where nothing of it is to be seen.
 */
export function placeBox(box: Box, video: Size, element: Size): Box | null {
  if (!(video.width > 0 && video.height > 0 && element.width > 0 && element.height > 0)) return null;
  const scale = Math.min(element.width / video.width, element.height / video.height);
  const left = (element.width - video.width * scale) / 2;
  const top = (element.height - video.height * scale) / 2;
  const cut = (value: number, max: number): number => Math.min(Math.max(value, 0), max);
  const [x, y, width, height] = box;
  const [x0, x1] = [cut(x, video.width), cut(x + width, video.width)];
  const [y0, y1] = [cut(y, video.height), cut(y + height, video.height)];
  if (x1 <= x0 || y1 <= y0) return null;
  return [left + x0 * scale, top + y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
}
