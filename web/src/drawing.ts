/** The face's box over the video. */

import type { Box } from "./answer";
import { placeBox } from "./geometry";

const FONT = "600 13px system-ui, sans-serif";
const TAG_PX = 22; // height of the caption's plate

/** Draw a box of the video, with a caption on its upper edge, where the video shows it. */
export function drawBox(
  canvas: HTMLCanvasElement,
  video: HTMLVideoElement,
  box: Box | null,
  caption: string,
): void {
  const { clientWidth: width, clientHeight: height } = video;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  const placed = box && placeBox(box, { width: video.videoWidth, height: video.videoHeight }, { width, height });
  if (!context || !placed) return;
  context.scale(scale, scale);
  const [x, y, boxWidth, boxHeight] = placed;
  context.lineJoin = "round";
  // light on dark, so that it is seen on any picture
  for (const [style, px] of [["rgba(10, 14, 20, 0.65)", 5], ["#ffffff", 2]] as const) {
    context.strokeStyle = style;
    context.lineWidth = px;
    context.strokeRect(x, y, boxWidth, boxHeight);
  }
  if (!caption) return;
  context.font = FONT;
  const plate = context.measureText(caption).width + 16;
  const left = Math.min(Math.max(x - 1, 0), Math.max(width - plate, 0));
  const top = Math.max(y - TAG_PX - 4, 0);
  context.fillStyle = "rgba(10, 14, 20, 0.82)";
  context.beginPath();
  context.roundRect(left, top, plate, TAG_PX, 4);
  context.fill();
  context.fillStyle = "#ffffff";
  context.textBaseline = "middle";
  context.fillText(caption, left + 8, top + TAG_PX / 2 + 1);
}
