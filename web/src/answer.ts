/** The server's answer to a clip: its types, and a parser that takes nothing on trust. */

import { EMOTIONS, type Emotion, isEmotion } from "./emotions";

export const SCHEMA = 1;
const SUM_TOLERANCE = 0.02;

export type Probs = Readonly<Record<Emotion, number>>;
/** x, y, width, height in px of the upright picture. */
export type Box = readonly [number, number, number, number];
export type Modality = "face" | "voice";

export interface Face {
  readonly id: number | null;
  readonly box: Box;
}

/** What is said about one window; label and probs are null where it abstains. */
export interface TimeWindow {
  readonly startS: number;
  readonly endS: number;
  readonly label: Emotion | null;
  readonly probs: Probs | null;
  readonly probsFace: Probs | null;
  readonly probsVoice: Probs | null;
  readonly modalities: readonly Modality[];
  readonly states: readonly string[];
  readonly face: Face | null;
}

/** A stretch of one label, or of none. */
export interface Segment {
  readonly startS: number;
  readonly endS: number;
  readonly label: Emotion | null;
  readonly confidence: number | null;
}

export interface Answer {
  readonly hopS: number;
  readonly windowS: number;
  readonly durationS: number;
  readonly windows: readonly TimeWindow[];
  readonly segments: readonly Segment[];
  readonly damage: { readonly packets: number; readonly missingS: number };
  readonly warnings: readonly string[];
}

/** The server sent something else than an answer; the message says where. */
export class MalformedAnswer extends Error {}

type Fields = Readonly<Record<string, unknown>>;

/** An answer from its JSON text. Throws MalformedAnswer. */
export function parseAnswer(text: string): Answer {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new MalformedAnswer("not JSON");
  }
  const top = takeObject(data, "answer");
  if (top.schema !== SCHEMA) fail("schema", `is ${JSON.stringify(top.schema)}, expected ${SCHEMA}`);
  const damage = takeObject(top.damage, "damage");
  const answer: Answer = {
    windowS: takeNumber(top.window_s, "window_s", 0),
    hopS: takeNumber(top.hop_s, "hop_s", 0),
    durationS: takeNumber(top.duration_s, "duration_s", 0),
    windows: takeList(top.windows, "windows", takeWindow),
    segments: takeList(top.segments, "segments", takeSegment),
    damage: {
      packets: takeNumber(damage.packets, "damage.packets", 0),
      missingS: takeNumber(damage.missing_s, "damage.missing_s", 0),
    },
    warnings: takeList(top.warnings, "warnings", takeText),
  };
  checkOrder(answer.windows, "windows");
  checkOrder(answer.segments, "segments");
  return answer;
}

function takeWindow(value: unknown, at: string): TimeWindow {
  const w = takeObject(value, at);
  const label = takeLabel(w.label, `${at}.label`);
  const probs = takeProbs(w.probs, `${at}.probs`);
  if ((label === null) !== (probs === null)) fail(at, "has one of label and probs");
  return {
    ...takeSpan(w, at),
    label,
    probs,
    probsFace: takeProbs(w.probs_face ?? null, `${at}.probs_face`),
    probsVoice: takeProbs(w.probs_voice ?? null, `${at}.probs_voice`),
    modalities: takeList(w.modalities, `${at}.modalities`, takeModality),
    states: takeList(w.states, `${at}.states`, takeText),
    face: takeFace(w.face, `${at}.face`),
  };
}

function takeSegment(value: unknown, at: string): Segment {
  const s = takeObject(value, at);
  const label = takeLabel(s.label, `${at}.label`);
  const confidence = s.confidence === null ? null : takeNumber(s.confidence, `${at}.confidence`, 0, 1);
  if ((label === null) !== (confidence === null)) fail(at, "has one of label and confidence");
  return { ...takeSpan(s, at), label, confidence };
}

function takeSpan(fields: Fields, at: string): { startS: number; endS: number } {
  const startS = takeNumber(fields.start_s, `${at}.start_s`, 0);
  return { startS, endS: takeNumber(fields.end_s, `${at}.end_s`, startS) };
}

function takeProbs(value: unknown, at: string): Probs | null {
  if (value === null) return null;
  const fields = takeObject(value, at);
  const pairs = EMOTIONS.map((name) => [name, takeNumber(fields[name], `${at}.${name}`, 0, 1)] as const);
  const sum = pairs.reduce((total, [, p]) => total + p, 0);
  if (Math.abs(sum - 1) > SUM_TOLERANCE) fail(at, `sums to ${sum.toFixed(3)}`);
  return Object.fromEntries(pairs) as Record<Emotion, number>;
}

function takeFace(value: unknown, at: string): Face | null {
  if (value === null) return null;
  const face = takeObject(value, at);
  const sides = takeList(face.box, `${at}.box`, (side, where) => takeNumber(side, where, -Infinity));
  const [x, y, width, height] = sides;
  if (sides.length !== 4 || x === undefined || y === undefined) fail(`${at}.box`, "is not four numbers");
  if (!width || !height || width < 0 || height < 0) fail(`${at}.box`, "has no area");
  return { id: face.id === null ? null : takeNumber(face.id, `${at}.id`, 0), box: [x, y, width, height] };
}

function takeLabel(value: unknown, at: string): Emotion | null {
  if (value === null || isEmotion(value)) return value;
  return fail(at, `is ${JSON.stringify(value)}`);
}

function takeModality(value: unknown, at: string): Modality {
  if (value === "face" || value === "voice") return value;
  return fail(at, `is ${JSON.stringify(value)}`);
}

function takeText(value: unknown, at: string): string {
  return typeof value === "string" ? value : fail(at, "is not text");
}

function takeNumber(value: unknown, at: string, min: number, max = Infinity): number {
  if (typeof value !== "number" || !Number.isFinite(value)) return fail(at, "is not a number");
  if (value < min || value > max) return fail(at, `is ${value}, out of range`);
  return value;
}

function takeList<T>(value: unknown, at: string, take: (item: unknown, at: string) => T): T[] {
  if (!Array.isArray(value)) return fail(at, "is not a list");
  return value.map((item, i) => take(item, `${at}[${i}]`));
}

function takeObject(value: unknown, at: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(at, "is not an object");
  return value as Fields;
}

function checkOrder(spans: readonly { startS: number }[], at: string): void {
  spans.forEach((span, i) => {
    const before = spans[i - 1];
    if (before && span.startS < before.startS) fail(`${at}[${i}]`, "starts before the one before it");
  });
}

function fail(at: string, what: string): never {
  throw new MalformedAnswer(`${at} ${what}`);
}
