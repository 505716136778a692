import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { findEdges, findWindow } from "../moments";
import { listNotices } from "../notices";
import type { State } from "../state";
import { sayOverall } from "../words";
import { Downloads } from "./downloads";
import { Moment } from "./moment";
import { Player } from "./player";
import { Timeline } from "./timeline";

interface Props {
  state: Extract<State, { kind: "done" }>;
  leave(): void;
}

/** Where the viewer is, and who asked for it: seek counts up when it was not the video. */
export interface Place {
  readonly timeS: number;
  readonly seek: number;
}

/** The answer: in words, beside the clip, over time, and to take along. */
export function Result({ state, leave }: Props) {
  const { answer, clip, text } = state;
  const [place, setPlace] = useState<Place>({ timeS: 0, seek: 0 });
  const edges = useMemo(() => findEdges(answer), [answer]);
  const overall = useMemo(() => sayOverall(answer), [answer]);
  const notices = useMemo(() => listNotices(answer), [answer]);
  const follow = useCallback((timeS: number) => setPlace((p) => ({ ...p, timeS })), []);
  const seek = useCallback(
    (timeS: number) => {
      const inside = Math.min(Math.max(timeS, 0), answer.durationS);
      setPlace((p) => ({ timeS: inside, seek: p.seek + 1 }));
    },
    [answer],
  );
  const address = useObjectUrl(clip.data);
  const index = findWindow(edges, place.timeS);

  return (
    <div class="result">
      <section class="card overall" aria-labelledby="overall">
        <p class="kicker name">{clip.name}</p>
        <h2 id="overall" tabIndex={-1} data-first class={overall.label ? `of-${overall.label}` : ""}>
          {overall.headline}
        </h2>
        {overall.sentences.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
        {notices.length > 0 && (
          <ul class="notices" aria-label="Notices">
            {notices.map((notice) => (
              <li key={notice}>{notice}</li>
            ))}
          </ul>
        )}
        <div class="row">
          <button type="button" class="button main" onClick={leave}>
            Another clip
          </button>
          <Downloads name={clip.name} answer={answer} text={text} />
        </div>
      </section>
      <div class="pair">
        <section class="card" aria-labelledby="clip">
          <h3 id="clip">Clip</h3>
          {address && <Player address={address} answer={answer} index={index} place={place} follow={follow} />}
        </section>
        <section class="card" aria-labelledby="moment">
          <Moment answer={answer} index={index} timeS={place.timeS} />
        </section>
      </div>
      <Timeline answer={answer} index={index} timeS={place.timeS} seek={seek} />
    </div>
  );
}

function useObjectUrl(data: Blob): string | null {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    const made = URL.createObjectURL(data);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  return address;
}
