import { formatBytes, formatShare } from "../numbers";
import type { State } from "../state";

interface Props {
  state: Extract<State, { ticket: number }>;
  cancel(): void;
  local: boolean;
}

/** How far a clip is on its way. */
export function Progress({ state, cancel, local }: Props) {
  const { clip } = state;
  const sending = state.kind === "sending";
  const title = sending && !local ? "Sending your clip" : "Reading face and voice";
  const size = formatBytes(clip.data.size);
  return (
    <section class="card busy" aria-labelledby="busy">
      <h2 id="busy">{title}</h2>
      <p class="hint">
        <span class="name">{clip.name}</span>
        {local && ", on this device"}
        {sending && !local && `, ${formatShare(state.share)} of ${size}`}
        {!sending && ", this takes about as long as the clip, or less"}
      </p>
      {sending ? (
        <progress max={1} value={state.share} aria-label={local ? "Read" : "Sent"} />
      ) : (
        <progress aria-label="Waiting for the answer" />
      )}
      <button type="button" class="button" onClick={cancel} data-first>
        Cancel
      </button>
    </section>
  );
}
