/** Faces followed from frame to frame, as features/tracking.py does it. */

import type { FaceBox, FoundFace } from "./detector";
import type { Rgb } from "./image";
import type { FaceSpec } from "./spec";

export const MAX_TRACKS = 8;
const MIN_IOU = 0.3;
const MAX_STEP = 1.2; // of the longer side
const MAX_GROWTH = 2;
const REMEMBERED_S = 5;

export interface Detector {
  detect(rgb: Rgb): Promise<FoundFace[]>;
  refine(rgb: Rgb, boxes: readonly FaceBox[]): Promise<FoundFace[]>;
}

/** One person's face in a frame; found: in this one, else where it was last seen. */
export interface TrackedFace {
  readonly id: number;
  readonly box: FaceBox;
  readonly found: boolean;
}

class Track {
  private speed = [0, 0] as readonly [number, number]; // px a second

  constructor(
    readonly id: number,
    public box: FaceBox,
    public seenS: number,
  ) {}

  move(box: FaceBox, timeS: number): void {
    const passedS = timeS - this.seenS;
    const [[x, y], [oldX, oldY]] = [middle(box), middle(this.box)];
    this.speed = passedS > 0 ? [(x - oldX) / passedS, (y - oldY) / passedS] : [0, 0];
    [this.box, this.seenS] = [box, timeS];
  }

  predict(timeS: number): FaceBox {
    const passedS = timeS - this.seenS;
    const [x, y, width, height] = this.box;
    return [x + this.speed[0] * passedS, y + this.speed[1] * passedS, width, height];
  }
}

/** Gives every face in a row of frames an id. */
export class FaceTracker {
  private tracks: Track[] = [];
  private nextId = 0;
  private sinceFull: number;
  private lastS = -Infinity;

  constructor(
    private readonly spec: FaceSpec,
    private readonly detector: Detector,
  ) {
    this.sinceFull = spec.detectEvery;
  }

  /** The faces of the next frame, by id. */
  async update(frame: Rgb, timeS: number): Promise<TrackedFace[]> {
    const memoryS = Math.max(REMEMBERED_S, this.spec.maxGapS);
    this.tracks = this.tracks.filter((t) => timeS - t.seenS <= memoryS);
    this.sinceFull += 1;
    const recentS = Math.min(this.lastS, timeS - this.spec.maxGapS);
    if (!(await this.lookNearby(frame, timeS, recentS))) {
      this.sinceFull = 0;
      const faces = this.sure(await this.detector.detect(frame));
      const pairs = pair(this.tracks, faces, timeS, recentS);
      for (const [track, face] of pairs) track.move(face.box, timeS);
      const taken = new Set(pairs.map(([, face]) => face));
      this.start(faces.filter((f) => !taken.has(f)), timeS);
    }
    this.lastS = timeS;
    const recent = this.tracks.filter((t) => t.seenS >= recentS);
    return recent.map((t) => ({ id: t.id, box: t.box, found: t.seenS === timeS }));
  }

  private async lookNearby(frame: Rgb, timeS: number, recentS: number): Promise<boolean> {
    const recent = this.tracks.filter((t) => t.seenS >= recentS);
    if (!recent.length || this.sinceFull >= this.spec.detectEvery) return false;
    if (recent.some((t) => t.seenS < this.lastS)) return false;
    const faces = this.sure(await this.detector.refine(frame, recent.map((t) => t.box)));
    const pairs = pair(recent, faces, timeS, recentS);
    if (pairs.length < recent.length) return false;
    for (const [track, face] of pairs) track.move(face.box, timeS);
    return true;
  }

  private sure(faces: readonly FoundFace[]): FoundFace[] {
    return faces.filter((f) => f.confidence >= this.spec.minConfidence);
  }

  private start(faces: readonly FoundFace[], timeS: number): void {
    for (const face of [...faces].sort((a, b) => areaOf(b.box) - areaOf(a.box))) {
      if (this.tracks.length === MAX_TRACKS) {
        const oldest = this.tracks.reduce((a, b) => (b.seenS < a.seenS ? b : a));
        if (oldest.seenS === timeS) return;
        this.tracks = this.tracks.filter((t) => t !== oldest);
      }
      this.tracks.push(new Track(this.nextId++, face.box, timeS));
    }
  }
}

/** Tracks and their faces: greedily by overlap, then the nearest of those left. */
function pair(tracks: readonly Track[], faces: readonly FoundFace[], timeS: number, recentS: number): [Track, FoundFace][] {
  const rated: [number, number, number, number][] = [];
  tracks.forEach((track, i) => {
    const recent = track.seenS >= recentS;
    const expected = recent ? track.predict(timeS) : track.box;
    faces.forEach((face, j) => {
      const overlap = measureIou(expected, face.box);
      const far = measureStep(track.box, face.box);
      if (overlap >= MIN_IOU) rated.push([0, -overlap, i, j]);
      else if (recent && far <= MAX_STEP) rated.push([1, far, i, j]);
    });
  });
  rated.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[3] - b[3]);
  const pairs = new Map<number, number>();
  const taken = new Set<number>();
  for (const [, , i, j] of rated) {
    if (pairs.has(i) || taken.has(j)) continue;
    pairs.set(i, j);
    taken.add(j);
  }
  return [...pairs].map(([i, j]) => [tracks[i] as Track, faces[j] as FoundFace]);
}

/** Shared over united area. */
export function measureIou(a: FaceBox, b: FaceBox): number {
  const width = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  const whole = areaOf(a) + areaOf(b) - shared;
  return whole > 0 ? shared / whole : 0;
}

function measureStep(a: FaceBox, b: FaceBox): number {
  const [sideA, sideB] = [Math.max(a[2], a[3]), Math.max(b[2], b[3])];
  const side = Math.max(sideA, sideB);
  if (side > MAX_GROWTH * Math.min(sideA, sideB)) return Infinity;
  const [[ax, ay], [bx, by]] = [middle(a), middle(b)];
  return Math.hypot(ax - bx, ay - by) / side;
}

export function areaOf(box: FaceBox): number {
  return box[2] * box[3];
}

function middle(box: FaceBox): readonly [number, number] {
  return [box[0] + box[2] / 2, box[1] + box[3] / 2];
}
