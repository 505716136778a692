/** Made-up answers, as the server writes them. */

import { EMOTIONS } from "../src/emotions.ts";

type Json = Record<string, unknown>;

/** Probabilities that sum to one, most of it on the emotion of this index. */
export function makeProbs(lead: number, share = 0.7): Json {
  const rest = (1 - share) / (EMOTIONS.length - 1);
  return Object.fromEntries(EMOTIONS.map((name, i) => [name, i === lead ? share : rest]));
}

/** One window of 3 s. */
export function makeWindow(startS: number, lead: number, changes: Json = {}): Json {
  return {
    start_s: startS,
    end_s: startS + 3,
    label: EMOTIONS[lead],
    probs: makeProbs(lead),
    probs_face: makeProbs(lead, 0.5),
    probs_voice: makeProbs((lead + 1) % 7, 0.4),
    modalities: ["face", "voice"],
    states: [],
    face: { id: 0, box: [100 + 5 * startS, 40, 120, 150] },
    ...changes,
  };
}

/** A recording whose first half is neutral and whose second half is happy. */
export function makeAnswer(durationS = 6, changes: Json = {}): Json {
  const n = Math.max(1, Math.floor(durationS) - 2);
  const windows = Array.from({ length: n }, (_, i) => makeWindow(i, i < n / 2 ? 4 : 3));
  const half = durationS / 2;
  return {
    schema: 1,
    path: "clip.mp4",
    window_s: 3,
    hop_s: 1,
    windows,
    segments: [
      { start_s: 0, end_s: half, label: "neutral", confidence: 0.7 },
      { start_s: half, end_s: durationS, label: "happy", confidence: 0.7 },
    ],
    duration_s: durationS,
    damage: { packets: 0, missing_s: 0 },
    warnings: [],
    ...changes,
  };
}
