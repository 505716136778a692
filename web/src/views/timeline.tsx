import { useMemo, useState } from "preact/hooks";
import type { Answer } from "../answer";
import { EMOTIONS } from "../emotions";
import { formatShare, formatTime } from "../numbers";
import { nameLabel } from "../words";
import { Chart } from "./chart";
import { SegmentBar } from "./segment_bar";
import { Swatch } from "./swatch";
import { WindowTable } from "./window_table";

interface Props {
  answer: Answer;
  index: number;
  timeS: number;
  seek(timeS: number): void;
}

/** The clip over time: segments, the seven probabilities, a slider; or all of it as a table. */
export function Timeline({ answer, index, timeS, seek }: Props) {
  const [asTable, setAsTable] = useState(false);
  const table = useMemo(
    () => asTable && <WindowTable answer={answer} index={index} seek={seek} />,
    [asTable, answer, index, seek],
  );
  const bar = useMemo(() => <SegmentBar answer={answer} seek={seek} />, [answer, seek]);
  const legend = useMemo(() => <Legend />, []);
  const window = answer.windows[index];
  const said = window?.label && window.probs ? formatShare(window.probs[window.label]) : "";
  return (
    <section class="card timeline" aria-labelledby="timeline">
      <div class="row apart">
        <h3 id="timeline">Over time</h3>
        <button type="button" class="button small" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          Show as table
        </button>
      </div>
      {bar}
      {asTable ? table : <Chart answer={answer} timeS={timeS} seek={seek} />}
      <input
        type="range"
        class="seek"
        min={0}
        max={answer.durationS}
        step={0.1}
        value={timeS}
        aria-label="Moment in the clip"
        aria-valuetext={`${formatTime(timeS)}, ${nameLabel(window?.label ?? null)} ${said}`}
        onInput={(e) => seek(e.currentTarget.valueAsNumber)}
      />
      {!asTable && legend}
    </section>
  );
}

function Legend() {
  return (
    <ul class="legend" aria-label="Lines of the chart">
      {EMOTIONS.map((emotion) => (
        <li key={emotion}>
          <Swatch emotion={emotion} />
          {emotion}
        </li>
      ))}
    </ul>
  );
}
