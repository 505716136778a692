/** The seven emotions, in the order of every network's outputs. */
export const EMOTIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"] as const;
export type Emotion = (typeof EMOTIONS)[number];

/** Dashes of each emotion's line in px, so that colour is not the only sign. */
export const DASHES: Readonly<Record<Emotion, readonly number[]>> = {
  angry: [],
  disgust: [10, 4],
  fear: [2, 3],
  happy: [],
  neutral: [6, 3],
  sad: [10, 3, 2, 3],
  surprise: [4, 2],
};

/** Width of each emotion's line in px. */
export const WIDTHS: Readonly<Record<Emotion, number>> = {
  angry: 2.5,
  disgust: 2,
  fear: 2.5,
  happy: 3.5,
  neutral: 1.75,
  sad: 2,
  surprise: 2.5,
};

/** Whether a value names one of the seven. */
export function isEmotion(value: unknown): value is Emotion {
  return EMOTIONS.some((name) => name === value);
}
