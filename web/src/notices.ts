/** What is missing from an answer, and why. */

import type { Answer } from "./answer";

/** Why one of the two is missing: in the whole clip, and in some windows of it. */
const MISSING: Readonly<Record<string, { all: string; some: string }>> = {
  no_face: { all: "No face was found in this clip.", some: "no face was found" },
  no_video: { all: "This file has no picture.", some: "there is no picture" },
  no_frames: { all: "No picture of this clip could be read.", some: "no picture could be read" },
  no_audio: { all: "This clip has no sound.", some: "there is no sound" },
  silent_audio: { all: "This clip is silent.", some: "it is silent" },
  too_short: { all: "The sound is too short to use.", some: "the sound is too short to use" },
  unsupported_codec: {
    all: "Picture or sound is coded in a way that the server cannot read.",
    some: "picture or sound could not be read",
  },
};

/** Sentences about missing faces, missing sound and damage, most important first. */
export function listNotices(answer: Answer): string[] {
  const n = answer.windows.length;
  const states = [...new Set(answer.windows.flatMap((w) => w.states))];
  const missing = states.map((state) => {
    const count = answer.windows.filter((w) => w.states.includes(state)).length;
    const words = MISSING[state];
    if (count === n) return `${words?.all ?? `The whole clip: ${state}.`}${sayWhatAnswered(answer)}`;
    return `In ${count} of ${n} windows ${words?.some ?? `the state is ${state}`}.`;
  });
  const silent = answer.windows.filter((w) => w.probs === null).length;
  const abstained = silent && silent < n ? [`${silent} of ${n} windows ${silent === 1 ? "has" : "have"} no answer.`] : [];
  const { packets, missingS } = answer.damage;
  const damaged = packets || missingS ? ["The file is damaged; what could be read was used."] : [];
  return [...missing, ...abstained, ...damaged, ...answer.warnings.map(finishSentence)];
}

function sayWhatAnswered(answer: Answer): string {
  const used = new Set(answer.windows.flatMap((w) => w.modalities));
  if (used.size !== 1) return "";
  return used.has("voice") ? " The answer comes from the voice alone." : " The answer comes from the face alone.";
}

/** A cause of the server's as a sentence. */
export function finishSentence(text: string): string {
  const trimmed = text.trim();
  const whole = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
