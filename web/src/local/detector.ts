/** MTCNN: P-Net proposes on a pyramid, R-Net and O-Net refine crops; as features/mtcnn.py does it. */

import { type Corners, cropBilinear, leaveApart, regress, type Scored, sortBest, suppress, toSquare } from "./boxes";
import { type Floats, type Rgb, shrinkArea } from "./image";
import type { Run } from "./network";
import { CELL_PX, type Level, listScales, makeLevels, makeLevelsNear, STRIDE_PX } from "./pyramid";
import { roundEven } from "./rounding";
import type { FaceSpec } from "./spec";

/** x, y, width, height in px. */
export type FaceBox = readonly [number, number, number, number];
export interface FoundFace {
  readonly box: FaceBox;
  readonly confidence: number;
}

const [PNET_THRESHOLD, RNET_THRESHOLD] = [Math.fround(0.6), Math.fround(0.7)];
const [SCALE_NMS, NMS] = [0.5, 0.7]; // IoU
const [RNET_PX, ONET_PX] = [24, 48];
const BATCH = 128; // crops per run
const NORMALISED = Float32Array.from({ length: 256 }, (_, i) => (i - 127.5) / 128);

/** The three networks, by name. */
export interface Networks {
  readonly pnet: Run;
  readonly rnet: Run;
  readonly onet: Run;
}

export class FaceDetector {
  constructor(
    private readonly networks: Networks,
    private readonly spec: FaceSpec,
  ) {}

  /** Faces of a picture, largest first. */
  async detect(rgb: Rgb): Promise<FoundFace[]> {
    const image = this.shrink(rgb);
    if (!image) return [];
    return this.find(rgb, image, await this.propose(makeLevels(image, this.listScales(image))));
  }

  /** Faces near boxes of a picture shortly before. */
  async refine(rgb: Rgb, boxes: readonly FaceBox[]): Promise<FoundFace[]> {
    const image = this.shrink(rgb);
    if (!image || !boxes.length) return [];
    const [across, down] = [image.width / rgb.width, image.height / rgb.height];
    const known = boxes.map(([x, y, w, h]) => toSquare([x * across, y * down, (x + w) * across, (y + h) * down]));
    return this.find(rgb, image, await this.propose(makeLevelsNear(image, this.listScales(image), known)));
  }

  private listScales(image: Floats): number[] {
    return listScales(image.height, image.width, this.spec.minFacePx);
  }

  /** What the networks see; null where it is too small. */
  private shrink(rgb: Rgb): Floats | null {
    let { width, height } = rgb;
    if (Math.min(width, height) < CELL_PX) return null;
    const shrink = Math.min(1, this.spec.detectMaxPx / Math.max(width, height));
    if (shrink < 1) [width, height] = [width, height].map((n) => Math.max(1, roundEven(n * shrink))) as [number, number];
    return { data: Float32Array.from(shrinkArea(rgb, width, height).data, (v) => NORMALISED[v] as number), width, height };
  }

  private async find(rgb: Rgb, image: Floats, proposals: readonly Corners[]): Promise<FoundFace[]> {
    const found = await this.check(image, proposals);
    const back = [Math.fround(rgb.width / image.width), Math.fround(rgb.height / image.height)] as const;
    const place = (value: number, axis: 0 | 1): number =>
      Math.min(Math.max(value, 0), (axis ? image.height : image.width) - 1) * back[axis];
    return found
      .map(({ box, score }): FoundFace => {
        const [x1, y1, x2, y2] = [place(box[0], 0), place(box[1], 1), place(box[2], 0), place(box[3], 1)];
        return { box: [x1, y1, x2 - x1, y2 - y1], confidence: score };
      })
      .filter(({ box }) => box[2] > 0 && box[3] > 0)
      .sort((a, b) => b.box[2] * b.box[3] - a.box[2] * a.box[3]);
  }

  /** P-Net over levels: square boxes, best first. */
  private async propose(levels: Iterable<Level>): Promise<Corners[]> {
    const found: Scored[] = [];
    for (const level of levels) found.push(...(await this.scan(level)));
    return suppress(found, NMS).map(({ box }) => toSquare(box));
  }

  private async scan({ image, scale, left, top }: Level): Promise<Scored[]> {
    const { boxes, scores } = await this.networks.pnet(["boxes", "scores"], {
      image: { data: image.data, shape: [1, image.height, image.width, 3] },
    });
    if (!boxes || !scores) throw new Error("P-Net gave nothing");
    const columns = scores.shape[2] ?? 1;
    const found: Scored[] = [];
    scores.data.forEach((score, i) => {
      if (!(score > PNET_THRESHOLD)) return;
      const x = (i % columns) * STRIDE_PX + left;
      const y = Math.floor(i / columns) * STRIDE_PX + top;
      const move = (k: number): number => Math.fround((boxes.data[i * 4 + k] as number) * (CELL_PX - 1));
      const box = [x + 1 + move(0), y + 1 + move(1), x + CELL_PX + move(2), y + CELL_PX + move(3)];
      found.push({ box: box.map((side) => side / scale) as unknown as Corners, score });
    });
    return suppress(found, SCALE_NMS);
  }

  /** R-Net, then O-Net. */
  private async check(image: Floats, proposals: readonly Corners[]): Promise<Scored[]> {
    const rough = await refineWith(this.networks.rnet, image, proposals, RNET_PX, RNET_THRESHOLD);
    const squares = suppress(rough, NMS).map(({ box }) => toSquare(box));
    const limit = Math.fround(this.spec.minConfidence);
    const fine = await refineWith(this.networks.onet, image, squares, ONET_PX, limit);
    return leaveApart(sortBest(fine), NMS, true);
  }
}

/** Those boxes that a network takes for faces, moved as it says. */
async function refineWith(run: Run, image: Floats, boxes: readonly Corners[], sizePx: number, threshold: number): Promise<Scored[]> {
  const kept: Scored[] = [];
  for (let start = 0; start < boxes.length; start += BATCH) {
    const part = boxes.slice(start, start + BATCH);
    const crops = { data: cropBilinear(image, part, sizePx), shape: [part.length, sizePx, sizePx, 3] };
    const answer = await run(["boxes", "scores"], { image: crops });
    part.forEach((box, i) => {
      const score = answer.scores?.data[i] ?? 0;
      if (score > threshold && answer.boxes) kept.push({ box: regress(box, answer.boxes.data, i * 4), score });
    });
  }
  return kept;
}
