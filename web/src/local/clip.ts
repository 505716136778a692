/** A clip to its answer: all of it, and its windows, as features/clip.py and inference/predict.py give them. */

import { EMOTIONS } from "../emotions";
import type { FaceDetector } from "./detector";
import { answerInputs, canAnswer, type Inputs } from "./inputs";
import { readMedia } from "./media";
import type { Run } from "./network";
import type { Media } from "./recording";
import { ClipError } from "./refusal";
import { findSegments, findTop } from "./segments";
import { judge } from "./sound";
import { SpeakerFinder } from "./speaker";
import type { BundleSpec } from "./spec";
import { FaceTracker } from "./tracking";
import { HOP_S, type Window, WINDOW_S, WindowCutter } from "./windows";

/** A loaded bundle. */
export interface Engine {
  readonly spec: BundleSpec;
  readonly detector: FaceDetector;
  readonly network: Run;
}
export type Tell = (share: number) => void;

const READING = 0.6; // of the time goes to decoding and finding faces

interface Prepared extends Inputs {
  readonly states: readonly string[];
  readonly warnings: readonly string[];
  readonly face: { readonly id: number; readonly box: readonly number[] } | null;
}

/** What ``predict --timeline`` writes of one file, and what it is as a whole. Throws ClipError. */
export async function answerClip(engine: Engine, name: string, file: Blob, tell: Tell): Promise<string> {
  const { spec } = engine;
  const windowS = Math.min(WINDOW_S, spec.audio.durationS);
  const hopS = Math.min(HOP_S, windowS);
  const tracker = new FaceTracker(spec.face, engine.detector);
  const [finder, cutter] = [new SpeakerFinder(spec.face), new WindowCutter(spec.face, windowS, hopS)];
  const longestS = Math.max(spec.face.maxFrames / spec.face.frameRateHz, spec.audio.durationS);
  const media = await readMedia(file, {
    face: spec.modalities.includes("face") ? spec.face : null,
    sound: spec.modalities.includes("voice") ? { rateHz: spec.audio.sampleRateHz, seconds: longestS } : null,
    take: async (sample) => {
      const faces = await tracker.update(sample.rgb, sample.timeS);
      finder.add(sample.rgb, sample.timeS, faces, sample.scale);
      cutter.add(sample, faces);
    },
    tell: (share) => tell(share * READING),
  });
  const whole = prepare(spec, media, finder, media.sound);
  if (!canAnswer(whole, spec.inputs)) throw refuse(whole, finder.nExamined, spec);
  const probs = await answerInputs(engine.network, whole, spec);
  const durationS = Math.min(media.durationS, longestS);
  const cut = cutter.finish(durationS);
  const windows = [];
  for (const window of cut) {
    tell(READING + ((1 - READING) * windows.length) / cut.length);
    windows.push(await answerWindow(engine, media, window, windowS));
  }
  const rows = windows.map((w) => w.row);
  const damage = describeDamage(media);
  if (media.cut) damage.push(`only the first ${spec.face.maxFrames} sampled frames were used`);
  const answer = {
    schema: 1,
    path: name,
    label: EMOTIONS[findTop(probs)],
    confidence: round(Math.max(...probs), 6),
    probs: nameProbs(probs),
    window_s: windowS,
    hop_s: hopS,
    windows: windows.map((w) => w.said),
    segments: findSegments(rows, windowS, hopS, durationS).map((s) => ({
      start_s: round(s.startS, 3),
      end_s: round(s.endS, 3),
      label: s.label === null ? null : EMOTIONS[s.label],
      confidence: s.confidence === null ? null : round(s.confidence, 6),
    })),
    duration_s: round(durationS, 3),
    damage: { packets: media.damagedPackets, missing_s: round(media.missingS, 3) },
    warnings: [...whole.warnings, ...damage],
  };
  return JSON.stringify(answer, null, 1);
}

async function answerWindow(engine: Engine, media: Media, window: Window, windowS: number) {
  const { spec, network } = engine;
  const { sampleRateHz } = spec.audio;
  const [first, end] = [window.startS, Math.max(window.endS, window.startS + windowS)];
  const sound = media.sound?.subarray(Math.round(first * sampleRateHz), Math.round(end * sampleRateHz)) ?? null;
  const inputs = prepare(spec, media, window.finder, sound?.length ? sound : null);
  const ask = async (part: Inputs): Promise<number[] | null> =>
    canAnswer(part, spec.inputs) ? answerInputs(network, part, spec) : null;
  const row = await ask(inputs);
  const alone = async (part: Inputs, other: unknown): Promise<number[] | null> => {
    if (!row) return null;
    return other === null ? row : ask(part); // nothing to leave out: it is the same question
  };
  const face = await alone({ ...inputs, sound: null }, inputs.sound);
  const voice = await alone({ ...inputs, crops: null }, inputs.crops);
  const said = {
    start_s: round(window.startS, 3),
    end_s: round(window.endS, 3),
    label: row && EMOTIONS[findTop(row)],
    confidence: row && round(Math.max(...row), 6),
    probs: row && nameProbs(row),
    modalities: row ? [...(inputs.crops ? ["face"] : []), ...(inputs.sound ? ["voice"] : [])] : [],
    states: inputs.states,
    face: inputs.face,
    probs_face: inputs.crops && face && nameProbs(face),
    probs_voice: inputs.sound && voice && nameProbs(voice),
  };
  return { row, said };
}

/** What the network sees of a clip or a window, and why a modality is missing. */
function prepare(spec: BundleSpec, media: Media, finder: SpeakerFinder, heard: Float32Array | null): Prepared {
  const states: string[] = [];
  const warnings: string[] = [];
  const seen = spec.modalities.includes("face") ? chooseFace(spec, media, finder, states, warnings) : null;
  let sound: Float32Array | null = null;
  if (spec.modalities.includes("voice")) {
    const missing = media.undecodable.includes("audio") ? "unsupported_codec" : "no_audio";
    const state = heard ? judge(heard.subarray(0, spec.audio.nSamples), spec.audio) : missing;
    if (state) states.push(state);
    else sound = heard;
  }
  return { crops: seen?.crops ?? null, face: seen?.face ?? null, sound, states, warnings };
}

function chooseFace(spec: BundleSpec, media: Media, finder: SpeakerFinder, states: string[], warnings: string[]) {
  if (!media.hasVideo) {
    states.push(media.undecodable.includes("video") ? "unsupported_codec" : "no_video");
    return null;
  }
  if (!finder.nExamined) {
    states.push("no_frames");
    return null;
  }
  const speaker = finder.choose();
  const crops = speaker?.track.crops ?? [];
  const nFound = crops.filter((c) => c.found).length;
  if (!speaker || nFound < spec.face.minCoverage * finder.nExamined) {
    states.push("no_face");
    if (nFound) warnings.push(`a face in ${nFound} of ${finder.nExamined} frames is too few`);
    return null;
  }
  if (finder.several) {
    warnings.push(`several faces; the ${spec.face.speaker === "central" ? "most central" : "largest"} was taken`);
  }
  const middle = crops[crops.length >> 1];
  const [across, down] = finder.scale;
  const box = middle?.box.map((side, i) => round(side * (i % 2 ? down : across), 1)) ?? [];
  return { crops, face: { id: speaker.id, box } };
}

function refuse(inputs: Prepared, nExamined: number, spec: BundleSpec): ClipError {
  const { states } = inputs;
  const needed = spec.modalities.join(" and ");
  if (inputs.crops || inputs.sound) return new ClipError(states[0] ?? "no_modality", `the network needs ${needed}`);
  const reason = states.includes("unsupported_codec")
    ? "unsupported_codec"
    : states.length === 1
      ? (states[0] ?? "no_modality")
      : "no_modality";
  return new ClipError(reason, `${states.join(" and ")}; ${nExamined} frames examined`);
}

function describeDamage(media: Media): string[] {
  const texts = media.undecodable.map((kind) => `no decoder for its ${kind} stream`);
  if (media.damagedPackets) texts.push(`${media.damagedPackets} damaged packets`);
  if (media.missingS) texts.push(`cut short: ${media.missingS.toFixed(1)} s less than declared`);
  return texts;
}

function nameProbs(probs: readonly number[]): Record<string, number> {
  return Object.fromEntries(EMOTIONS.map((name, i) => [name, round(probs[i] as number, 6)]));
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
