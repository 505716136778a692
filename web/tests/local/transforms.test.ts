/** The page's transforms against numbers that keras_emo made, see make_vectors.py. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Corners, cropBilinear, leaveApart, sortBest, suppress } from "../../src/local/boxes";
import { type Matrix, toRgb, toSmallRgb } from "../../src/local/colour";
import type { FaceBox, FoundFace } from "../../src/local/detector";
import { cropFace } from "../../src/local/face";
import { type Floats, resizeLinear, type Rgb, shrinkArea } from "../../src/local/image";
import { listScales, makeLevelsNear } from "../../src/local/pyramid";
import { roundEven } from "../../src/local/rounding";
import { SampleGrid } from "../../src/local/sampling";
import { findSegments } from "../../src/local/segments";
import { resample } from "../../src/local/sound";
import type { FaceSpec } from "../../src/local/spec";
import { FaceTracker } from "../../src/local/tracking";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf-8"));
const SPEC: FaceSpec = {
  frameRateHz: 3,
  sizePx: 16,
  margin: 0.1,
  minFacePx: 20,
  minConfidence: 0.9,
  detectMaxPx: 640,
  maxFrames: 96,
  maxGapS: 1,
  minCoverage: 0.1,
  detectEvery: 4,
  speaker: "largest",
  decodeMaxPx: 1280,
};

function paint(width: number, height: number, channels = 3): Rgb {
  const data = new Uint8Array(width * height * channels);
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        data[at++] = (x * 7 + y * 13 + c * 29 + ((x * y) % 17) * 5 + ((x * x * y) % 23)) % 256;
      }
    }
  }
  return { data, width, height };
}

function toFloats({ data, width, height }: Rgb): Floats {
  return { data: Float32Array.from(data, (v) => (v - 127.5) / 128), width, height };
}

function measure(found: ArrayLike<number>, expected: readonly number[]): number {
  expect(found.length).toBe(expected.length);
  return expected.reduce((worst, v, i) => Math.max(worst, Math.abs(v - (found[i] as number))), 0);
}

describe("pictures", () => {
  it("are shrunk as OpenCV shrinks them", () => {
    for (const { size, to, floats, values } of vectors.shrunk) {
      const picture = paint(size[0], size[1]);
      const small = floats ? shrinkArea(toFloats(picture), to[0], to[1]) : shrinkArea(picture, to[0], to[1]);
      expect(measure(small.data, values)).toBeLessThanOrEqual(floats ? 2e-6 : 0);
    }
  });

  it("are made larger as OpenCV does it", () => {
    for (const { size, to, values } of vectors.grown) {
      expect(measure(resizeLinear(paint(size[0], size[1]), to[0], to[1]).data, values)).toBeLessThanOrEqual(1);
    }
  });

  it("are cut about faces as keras_emo cuts them", () => {
    for (const { box, of, values } of vectors.face_crops) {
      expect(measure(cropFace(paint(of[0], of[1]), box, SPEC).data, values)).toBeLessThanOrEqual(1);
    }
  });

  it("get their colours as swscale gives them, to the bit", () => {
    const planes = [0, 128, 160].map((offset, i) => ({ offset, stride: i ? 8 : 16, step: 1 }));
    for (const { matrix, full, values } of vectors.colours) {
      const { data } = paint(16, 12, 1);
      const coding = { matrix: matrix as Matrix, fullRange: full };
      const rgb = toRgb(data, 16, 8, planes as never, coding);
      expect(measure(rgb.data, values)).toBe(0);
    }
  });

  it("get the colours of swscale too where they are shrunk", () => {
    const [{ planes }, ...cases] = vectors.small_colours;
    const places = [0, 1728, 2160].map((offset, i) => ({ offset, stride: i ? 24 : 48, step: 1 }));
    for (const { matrix, full, size, values } of cases) {
      const coding = { matrix: matrix as Matrix, fullRange: full };
      const [width, height] = size;
      const from = { width: 48, height: 36 };
      const { data } = toSmallRgb(Uint8Array.from(planes), from, places as never, coding, { width, height });
      const off = values.map((v: number, i: number) => Math.abs(v - (data[i] as number)));
      expect(Math.max(...off)).toBeLessThanOrEqual(4);
      expect(off.reduce((a: number, b: number) => a + b, 0) / off.length).toBeLessThan(0.2);
    }
  });
});

describe("frames", () => {
  it("are sampled by their times", () => {
    for (const { fps, rate_hz, kept } of vectors.samples) {
      const grid = new SampleGrid(rate_hz, 1 / fps);
      const found = Array.from({ length: 60 }, (_, i) => i).filter((i) => {
        const due = grid.isDue(i / fps);
        if (due) grid.take(i / fps);
        return due;
      });
      expect(found).toEqual(kept);
    }
  });

  it("are followed from one to the next", async () => {
    const { frames, tracked, asked } = vectors.tracking;
    const said: string[] = [];
    let faces: FoundFace[] = [];
    const detector = {
      detect: async () => (said.push("detect"), faces),
      refine: async (_: Rgb, boxes: readonly FaceBox[]) => (said.push("refine"), faces.slice(0, boxes.length)),
    };
    const tracker = new FaceTracker(SPEC, detector);
    const found = [];
    for (const [i, boxes] of frames.entries()) {
      faces = boxes.map((box: FaceBox) => ({ box, confidence: 0.99 }));
      found.push((await tracker.update(paint(4, 4), i / 3)).map((f) => [f.id, [...f.box], f.found]));
    }
    expect(found).toEqual(tracked);
    expect(said).toEqual(asked);
  });
});

describe("boxes", () => {
  const { boxes, scores, ...expected } = vectors.boxes;
  const scored = boxes.map((box: Corners, i: number) => ({ box, score: scores[i] }));

  it("are left out where a better one overlaps", () => {
    const kept = suppress(scored, 0.5);
    expect(kept.map((k) => k.box)).toEqual(expected.suppressed);
    expect(kept.map((k) => k.score)).toEqual(expected.suppressed_scores);
    expect(leaveApart(sortBest(scored), 0.7, true).map((k) => k.box)).toEqual(expected.apart);
  });

  it("are cropped with zeros outside the picture", () => {
    const places: Corners[] = [[3.2, 4.1, 25.9, 26.8], [-4, 20, 18, 42]];
    expect(measure(cropBilinear(toFloats(paint(40, 30)), places, 6), expected.crops)).toBeLessThan(2e-6);
  });
});

describe("the pyramid", () => {
  it("has the same scales", () => {
    for (const { size, values } of vectors.pyramids.scales) {
      expect(listScales(size[0], size[1], size[2])).toEqual(values);
    }
  });

  it("has the same parts near known boxes", () => {
    const levels = [...makeLevelsNear(toFloats(paint(160, 120)), listScales(120, 160, 20), vectors.pyramids.boxes)];
    expect(levels.map((l) => [l.scale, l.left, l.top, [l.image.width, l.image.height]])).toEqual(
      vectors.pyramids.near.map((l: never) => [l["scale"], l["left"], l["top"], l["size"]]),
    );
    levels.forEach(({ image }, i) => {
      const some: number[] = [];
      for (let y = 0; y < image.height; y += 5) {
        for (let x = 0; x < image.width; x += 5) some.push(image.data[(y * image.width + x) * 3] as number);
      }
      expect(measure(some, vectors.pyramids.near[i].values)).toBeLessThan(2e-5);
    });
  });
});

describe("sound and time", () => {
  it("is resampled as soxr does it, but where it is cut off", () => {
    for (const { from_hz, to_hz, values } of vectors.resampled) {
      const sound = Float32Array.from({ length: Math.floor(from_hz / 50) }, (_, i) => {
        const t = i / from_hz;
        return 0.5 * Math.sin(2 * Math.PI * 440 * t) + 0.2 * Math.sin(2 * Math.PI * 3000 * t);
      });
      const found = resample(sound, from_hz, to_hz).filter((_, i) => i % 7 === 0);
      expect(measure(found, values)).toBeLessThan(1e-3);
      const inner = (list: ArrayLike<number>): number[] => Array.from(list).slice(50, -50);
      expect(measure(inner(found), inner(values))).toBeLessThan(3e-6);
    }
  });

  it("has the same segments", () => {
    for (const { rows, duration_s, segments } of vectors.segments) {
      const found = findSegments(rows, 3, 1, duration_s);
      const names = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"];
      expect(found.map((s) => (s.label === null ? null : names[s.label]))).toEqual(
        segments.map((s: { label: string | null }) => s.label),
      );
      found.forEach((s, i) => {
        expect(s.startS).toBeCloseTo(segments[i].start_s, 3);
        expect(s.endS).toBeCloseTo(segments[i].end_s, 3);
        if (s.confidence !== null) expect(s.confidence).toBeCloseTo(segments[i].confidence, 5);
      });
    }
  });

  it("rounds halves to the even number", () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4].map(roundEven).map((v) => v + 0)).toEqual([0, 2, 2, 0, -2, 2]);
  });
});
