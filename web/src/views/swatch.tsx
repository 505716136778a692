import { DASHES, type Emotion, WIDTHS } from "../emotions";

/** A piece of an emotion's line as the chart draws it. */
export function Swatch({ emotion }: { emotion: Emotion }) {
  return (
    <svg class={`swatch of-${emotion}`} viewBox="0 0 28 8" aria-hidden="true">
      <line x1="0" y1="4" x2="28" y2="4" stroke-width={WIDTHS[emotion]} stroke-dasharray={DASHES[emotion].join(" ")} />
    </svg>
  );
}
