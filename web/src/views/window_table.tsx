import { useState } from "preact/hooks";
import type { Answer } from "../answer";
import { EMOTIONS } from "../emotions";
import { formatShare, formatTime } from "../numbers";

interface Props {
  answer: Answer;
  index: number;
  seek(timeS: number): void;
}

const PAGE_ROWS = 100;

/** Every window as a row; long recordings a page at a time. */
export function WindowTable({ answer, index, seek }: Props) {
  const [rows, setRows] = useState(PAGE_ROWS);
  const { windows } = answer;
  return (
    <>
      <div class="scroll" role="region" aria-label="Table of windows" tabIndex={0}>
        <table class="windows">
          <caption class="unseen">Probabilities of each window</caption>
          <thead>
            <tr>
              {["From", "To", "Label", ...EMOTIONS, "Used"].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {windows.slice(0, rows).map((w, i) => (
              <tr key={i} aria-current={i === index ? "time" : undefined}>
                <th scope="row">
                  <button type="button" class="plain" onClick={() => seek(w.startS)}>
                    {formatTime(w.startS)}
                  </button>
                </th>
                <td>{formatTime(w.endS)}</td>
                <td>{w.label ?? "no answer"}</td>
                {EMOTIONS.map((name) => (
                  <td key={name} class={w.label === name ? "leads" : ""}>
                    {w.probs ? formatShare(w.probs[name]) : "–"}
                  </td>
                ))}
                <td>{w.modalities.join(" and ") || w.states.join(", ").replaceAll("_", " ")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows < windows.length && (
        <button type="button" class="button small" onClick={() => setRows(rows + PAGE_ROWS)}>
          Show {Math.min(PAGE_ROWS, windows.length - rows)} more of {windows.length}
        </button>
      )}
    </>
  );
}
