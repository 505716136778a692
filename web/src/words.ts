/** The answer in words. */

import type { Answer, Probs, Segment, TimeWindow } from "./answer";
import { EMOTIONS, type Emotion } from "./emotions";
import { formatShare, formatTime } from "./numbers";

/** As in "comes across as ...". */
const ADJECTIVES: Readonly<Record<Emotion, string>> = {
  angry: "angry",
  disgust: "disgusted",
  fear: "fearful",
  happy: "happy",
  neutral: "neutral",
  sad: "sad",
  surprise: "surprised",
};
const CLOSE = 0.1; // two emotions this near each other are both named
const WEAK = 0.4; // below, none stands out
const MOST = 0.6; // share of the time from which one label stands for the clip
const MANY = 4; // segments that a sentence still lists

/** What the clip as a whole says; label is null where no window has an answer. */
export interface Overall {
  readonly label: Emotion | null;
  readonly headline: string;
  readonly sentences: readonly string[];
}

/** Mean probabilities over the windows that have an answer, or null. */
export function averageProbs(windows: readonly TimeWindow[]): Probs | null {
  const known = windows.flatMap((w) => (w.probs ? [w.probs] : []));
  if (!known.length) return null;
  const mean = (name: Emotion): number => known.reduce((sum, p) => sum + p[name], 0) / known.length;
  return Object.fromEntries(EMOTIONS.map((name) => [name, mean(name)])) as Record<Emotion, number>;
}

/** Emotions from most to least probable. */
export function rank(probs: Probs): Emotion[] {
  return [...EMOTIONS].sort((a, b) => probs[b] - probs[a]);
}

/** The overall answer. */
export function sayOverall(answer: Answer): Overall {
  const probs = averageProbs(answer.windows);
  if (!probs) {
    const sentences = ["Neither a face nor a voice could be used, so nothing is said about this clip."];
    return { label: null, headline: "No answer", sentences };
  }
  const shares = shareTime(answer.segments);
  return shares.length > 1 ? saySeveral(answer, shares) : sayOne(answer, probs);
}

/** One label throughout: by its probability. */
function sayOne(answer: Answer, probs: Probs): Overall {
  const [first = "neutral", second = "neutral"] = rank(probs);
  const [prob, next] = [probs[first], probs[second]];
  const source = nameSource(answer.windows);
  const share = `${formatShare(prob)} on average`;
  if (prob < WEAK) {
    const sentence = `${source} nothing in particular. The strongest is ${first}, ${share}.`;
    return { label: first, headline: "No clear expression", sentences: [sentence, ...sayCourse(answer)] };
  }
  let headline = `Mostly ${first}`;
  let opening = `${source} ${ADJECTIVES[first]}, ${share} over ${formatLength(answer.durationS)}.`;
  if (prob - next < CLOSE) {
    headline = `Between ${first} and ${second}`;
    const other = `${ADJECTIVES[second]} (${formatShare(next)})`;
    opening = `${source} ${ADJECTIVES[first]} (${formatShare(prob)}) or ${other}.`;
  }
  return { label: first, headline, sentences: [opening, ...sayCourse(answer)] };
}

/** Several labels, one after the other: by how long each lasts. */
function saySeveral(answer: Answer, shares: readonly [Emotion, number][]): Overall {
  const [[first, share], [second]] = shares as [[Emotion, number], [Emotion, number]];
  const parts = shares.slice(0, 3).map(([name, part]) => `${ADJECTIVES[name]} for ${formatShare(part)}`);
  const last = parts.pop() ?? "";
  const opening = `${nameSource(answer.windows)} ${parts.join(", ")} and ${last} of the time.`;
  const labelled = answer.segments.filter((s) => s.label !== null);
  const sentences = [opening, ...sayCourse(answer)];
  if (share >= MOST) return { label: first, headline: `Mostly ${first}`, sentences };
  if (labelled.length > 2) return { label: first, headline: `Changing, mostly ${first} and ${second}`, sentences };
  const [before, after] = labelled.map((s) => nameLabel(s.label));
  return { label: first, headline: `First ${before}, then ${after}`, sentences };
}

/** Each label's share of the time that has one, largest first. */
export function shareTime(segments: readonly Segment[]): [Emotion, number][] {
  const lengths = new Map<Emotion, number>();
  for (const { label, startS, endS } of segments) {
    if (label) lengths.set(label, (lengths.get(label) ?? 0) + endS - startS);
  }
  const total = [...lengths.values()].reduce((sum, length) => sum + length, 0);
  const shares = [...lengths].map(([label, length]): [Emotion, number] => [label, total ? length / total : 0]);
  return shares.sort((a, b) => b[1] - a[1]);
}

/** How the expression changes, if it does. */
function sayCourse(answer: Answer): string[] {
  const [first, ...rest] = answer.segments;
  if (!first || !rest.length) return [];
  if (answer.segments.length > MANY) {
    const longest = answer.segments.reduce((a, b) => (b.endS - b.startS > a.endS - a.startS ? b : a));
    const span = `${formatTime(longest.startS)} to ${formatTime(longest.endS)}`;
    return [`It changes ${rest.length} times; the longest stretch is ${describe(longest.label)}, ${span}.`];
  }
  const steps = rest.map((s) => `${describe(s.label)} from ${formatTime(s.startS)}`);
  return [`It begins ${describe(first.label)}, then ${steps.join(", then ")}.`];
}

function describe(label: Emotion | null): string {
  return label ? ADJECTIVES[label] : nameLabel(label);
}

/** A label, or what stands for none. */
export function nameLabel(label: Emotion | null): string {
  return label ?? "without an answer";
}

function nameSource(windows: readonly TimeWindow[]): string {
  const used = new Set(windows.flatMap((w) => w.modalities));
  if (used.size === 2) return "Face and voice together come across as";
  return used.has("face") ? "The face alone comes across as" : "The voice alone comes across as";
}

function formatLength(durationS: number): string {
  return durationS < 60 ? `${durationS.toFixed(1)} s` : formatTime(durationS);
}
