/** The windows of a clip, and what is seen in each; as inference/windows.py cuts them. */

import type { Sample } from "./media";
import { SpeakerFinder } from "./speaker";
import type { FaceSpec } from "./spec";
import type { TrackedFace } from "./tracking";

export const HOP_S = 1;
export const WINDOW_S = 3;

/** A part of a clip, once the clip is read. */
export interface Window {
  readonly startS: number;
  readonly endS: number;
  readonly finder: SpeakerFinder;
}

interface Seen {
  readonly sample: Sample;
  readonly faces: readonly TrackedFace[];
}

/** late: frames after its end, which it takes if it is the last one. */
interface Open {
  readonly finder: SpeakerFinder;
  late: Seen[];
}

export class WindowCutter {
  private readonly open: Open[] = [];
  private readonly earlyS: number; // of a frame due at an edge
  private readonly restS: number;

  constructor(
    private readonly spec: FaceSpec,
    readonly windowS: number,
    readonly hopS: number,
  ) {
    this.earlyS = Math.min(1 / 60, 0.5 / spec.frameRateHz);
    this.restS = hopS / 2;
  }

  /** Take the next frame and the faces in it. */
  add(sample: Sample, faces: readonly TrackedFace[]): void {
    const timeS = sample.timeS + this.earlyS;
    for (let number = 0; number * this.hopS <= timeS; number++) {
      const window = this.at(number);
      const pastS = timeS - this.endOf(number);
      if (pastS < 0) window.finder.add(sample.rgb, sample.timeS, faces, sample.scale);
      else if (pastS <= this.restS + this.earlyS) window.late.push({ sample, faces });
      else window.late = []; // another one follows
    }
  }

  /** All windows of a clip that was durationS long; at least one. */
  finish(durationS: number): Window[] {
    const windows: Window[] = [];
    for (let n = 0; !n || durationS - this.endOf(n - 1) > this.restS; n++) {
      const startS = n * this.hopS;
      const { finder, late } = this.at(n);
      const last = durationS - this.endOf(n) <= this.restS;
      if (last) for (const { sample, faces } of late) finder.add(sample.rgb, sample.timeS, faces, sample.scale);
      windows.push({ startS, endS: last ? Math.max(durationS, startS) : this.endOf(n), finder });
    }
    return windows;
  }

  private endOf(number: number): number {
    return number * this.hopS + this.windowS;
  }

  private at(number: number): Open {
    return (this.open[number] ??= { finder: new SpeakerFinder(this.spec), late: [] });
  }
}
