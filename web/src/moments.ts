/** Which window speaks for a moment, and where its face is. */

import type { Answer, Box, TimeWindow } from "./answer";

/**
 * Times in s, one more than windows: window i speaks for what lies between edges i and i + 1.
 * That is a hop about its middle; the first and last also speak for what is before and after.
 */
export function findEdges(answer: Answer): number[] {
  const { windows, durationS, hopS, windowS } = answer;
  if (!windows.length) return [];
  const inner = windows.slice(1).map((w) => Math.min(w.startS + (windowS - hopS) / 2, durationS));
  return [0, ...inner, durationS];
}

/** Index of the window that speaks for a moment; -1 without windows. */
export function findWindow(edges: readonly number[], timeS: number): number {
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((edges[middle] ?? Infinity) <= timeS) low = middle;
    else high = middle - 1;
  }
  return high < 0 ? -1 : low;
}

/** Middle of a window in s. */
export function middleOf(window: TimeWindow): number {
  return (window.startS + window.endS) / 2;
}

/**
 * The face at a moment, between the middles of two windows on the way from one box to the
 * next if both show the same person; null where the window has no face.
 */
export function findBox(answer: Answer, index: number, timeS: number): Box | null {
  const here = answer.windows[index];
  if (!here?.face) return null;
  const middleS = middleOf(here);
  const near = answer.windows[index + (timeS < middleS ? -1 : 1)];
  if (!near?.face || near.face.id === null || near.face.id !== here.face.id) return here.face.box;
  const gapS = middleOf(near) - middleS;
  const share = gapS === 0 ? 0 : Math.min(Math.max((timeS - middleS) / gapS, 0), 1);
  const [from, to] = [here.face.box, near.face.box];
  const mix = (i: 0 | 1 | 2 | 3): number => from[i] + (to[i] - from[i]) * share;
  return [mix(0), mix(1), mix(2), mix(3)];
}
