import type { Answer, Probs } from "../answer";
import { EMOTIONS, type Emotion } from "../emotions";
import { formatShare, formatTime } from "../numbers";
import { rank } from "../words";
import { Swatch } from "./swatch";

interface Props {
  answer: Answer;
  index: number;
  timeS: number;
}

/** Face, voice and both side by side, for the window that speaks for this moment. */
export function Moment({ answer, index, timeS }: Props) {
  const window = answer.windows[index];
  const columns: readonly (readonly [string, Probs | null])[] = [
    ["Face", window?.probsFace ?? null],
    ["Voice", window?.probsVoice ?? null],
    ["Both", window?.probs ?? null],
  ];
  return (
    <>
      <h3 id="moment">At {formatTime(timeS)}</h3>
      <table class="moment">
        <caption class="hint">
          {window
            ? `Read from ${formatTime(window.startS)} to ${formatTime(window.endS)}: face and voice each alone, then both`
            : "Nothing was read here"}
        </caption>
        <thead>
          <tr>
            <td />
            {columns.map(([name]) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {EMOTIONS.map((emotion) => (
            <tr key={emotion} class={`of-${emotion}`}>
              <th scope="row">
                <Swatch emotion={emotion} />
                {emotion}
              </th>
              {columns.map(([name, probs]) => (
                <Cell key={name} probs={probs} emotion={emotion} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function Cell({ probs, emotion }: { probs: Probs | null; emotion: Emotion }) {
  if (!probs) {
    return (
      <td class="none">
        <span aria-hidden="true">–</span>
        <span class="unseen">not used</span>
      </td>
    );
  }
  const leads = rank(probs)[0] === emotion;
  return (
    <td class={leads ? "leads" : ""}>
      <span class="bar" aria-hidden="true">
        <span style={{ width: `${probs[emotion] * 100}%` }} />
      </span>
      <span class="figure">{formatShare(probs[emotion])}</span>
    </td>
  );
}
