/** Crops and sound as arrays for a network, as inference/batch.py makes them. */

import type { Crop } from "./face";
import { type Feed, type Run, softmax, type Tensor } from "./network";
import type { BundleSpec } from "./spec";

/** What the network sees of a clip; null where a modality is missing. */
export interface Inputs {
  readonly crops: readonly Crop[] | null;
  /** Mono at the network's rate, as much as there is. */
  readonly sound: Float32Array | null;
}

/** Whether there is what a network needs: with masks, either modality. */
export function canAnswer({ crops, sound }: Inputs, names: readonly string[]): boolean {
  const has = { face: crops !== null, mfcc: sound !== null };
  const wanted = (["face", "mfcc"] as const).filter((name) => names.includes(name));
  const required = wanted.filter((name) => !names.includes(`${name}_mask`));
  return required.every((name) => has[name]) && wanted.some((name) => has[name]);
}

/** The seven probabilities of a clip that can be answered. */
export async function answerInputs(run: Run, inputs: Inputs, spec: BundleSpec): Promise<number[]> {
  const { logits } = await run(["logits"], feedInputs(inputs, spec));
  if (!logits) throw new Error("the network gave no logits");
  const n = logits.shape[1] ?? 7;
  const rows = logits.data.length / n;
  const mean = Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += logits.data[row * n + i] as number;
    return sum / rows;
  });
  return softmax(mean);
}

/** waveform takes the place of mfcc: the graph makes the one of the other. */
export function feedInputs({ crops, sound }: Inputs, spec: BundleSpec): Feed {
  const feed: Record<string, Tensor> = {};
  if (spec.inputs.includes("face")) Object.assign(feed, feedFaces(crops, spec));
  if (spec.inputs.includes("mfcc")) {
    const waveform = new Float32Array(spec.audio.nSamples);
    if (sound) waveform.set(sound.subarray(0, spec.audio.nSamples));
    feed.waveform = { data: waveform, shape: [1, spec.audio.nSamples] };
    feed.mfcc_mask = { data: Float32Array.of(sound ? 1 : 0), shape: [1, 1] };
  }
  const taken = ([name]: [string, Tensor]): boolean => name === "waveform" || spec.inputs.includes(name);
  return Object.fromEntries(Object.entries(feed).filter(taken));
}

function feedFaces(crops: readonly Crop[] | null, spec: BundleSpec): Record<string, Tensor> {
  const side = spec.face.sizePx;
  const chosen = crops && spec.frames === "one" ? [chooseCrop(crops)] : (crops ?? []);
  const n = Math.max(1, chosen.length);
  const data = new Float32Array(n * side * side * 3);
  chosen.forEach((crop, i) => data.set(crop.rgb.data, i * side * side * 3));
  const pixels = [side, side, 3];
  return {
    face: { data, shape: spec.frames === "all" ? [1, n, ...pixels] : [n, ...pixels] },
    face_mask: { data: new Float32Array(n).fill(chosen.length ? 1 : 0), shape: [1, n] },
  };
}

/** The middle one of the crops in which a face was found. */
export function chooseCrop(crops: readonly Crop[]): Crop {
  const found = crops.filter((c) => c.found);
  return found[found.length >> 1] as Crop;
}
