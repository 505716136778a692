/** Whose face a clip is about, as features/subject.py finds it. */

import type { FaceBox } from "./detector";
import { FaceTrack } from "./face";
import type { Scale } from "./frames";
import type { Rgb } from "./image";
import type { FaceSpec } from "./spec";
import { areaOf, MAX_TRACKS, type TrackedFace } from "./tracking";

class Person {
  readonly track: FaceTrack;
  nFound = 0;
  areaPx = 0;
  offMiddle = 0;
  lastS = -Infinity;

  constructor(
    readonly id: number,
    spec: FaceSpec,
  ) {
    this.track = new FaceTrack(spec);
  }

  add(frame: Rgb, timeS: number, box: FaceBox): void {
    const [x, y] = [box[0] + box[2] / 2 - frame.width / 2, box[1] + box[3] / 2 - frame.height / 2];
    this.track.add(frame, timeS, box);
    this.nFound += 1;
    this.areaPx += areaOf(box);
    this.offMiddle += Math.hypot(x, y) / Math.hypot(frame.width, frame.height);
    this.lastS = timeS;
  }
}

export interface Speaker {
  readonly id: number;
  readonly track: FaceTrack;
}

/** Keeps the crops of everybody in a clip until it is known who speaks. */
export class SpeakerFinder {
  nExamined = 0;
  several = false; // faces in one frame
  scale: Scale = [1, 1]; // of the frames, see frames.ts
  private people: Person[] = [];
  private empty: { frame: Rgb; timeS: number }[] = [];

  constructor(private readonly spec: FaceSpec) {}

  /** Take the next frame and the tracker's answer to it. */
  add(frame: Rgb, timeS: number, faces: readonly TrackedFace[], scale: Scale = [1, 1]): void {
    this.nExamined += 1;
    this.scale = scale;
    const found = new Map(faces.filter((f) => f.found).map((f) => [f.id, f.box]));
    this.several ||= found.size > 1;
    const known = new Set(this.people.map((p) => p.id));
    for (const id of [...found.keys()].filter((n) => !known.has(n)).sort((a, b) => a - b)) {
      const person = new Person(id, this.spec);
      for (const earlier of this.empty) person.track.add(earlier.frame, earlier.timeS, null);
      this.people.push(person);
    }
    for (const person of this.people) {
      const box = found.get(person.id);
      if (box) person.add(frame, timeS, box);
      else person.track.add(frame, timeS, null);
    }
    if (found.size) this.empty = [];
    else this.empty = [...this.empty, { frame, timeS }].filter((e) => timeS - e.timeS <= this.spec.maxGapS);
    while (this.people.length > MAX_TRACKS) {
      const rank = (p: Person): [number, number] => [Number(p.lastS === timeS), p.areaPx];
      const least = this.people.reduce((a, b) => {
        const [[nowA, areaA], [nowB, areaB]] = [rank(a), rank(b)];
        return nowB < nowA || (nowB === nowA && areaB < areaA) ? b : a;
      });
      this.people = this.people.filter((p) => p !== least);
    }
  }

  /** The speaker, once no further frame comes; null: nobody. */
  choose(): Speaker | null {
    let people = this.people;
    const [first] = people;
    if (!first) return null;
    let speaker = people.reduce((a, b) => (b.areaPx > a.areaPx ? b : a));
    if (this.spec.speaker === "central") {
      const often = Math.max(...people.map((p) => p.nFound));
      people = people.filter((p) => 2 * p.nFound >= often);
      speaker = people.reduce((a, b) => (b.offMiddle / b.nFound < a.offMiddle / a.nFound ? b : a));
    }
    speaker.track.finish();
    return { id: speaker.id, track: speaker.track };
  }
}
