import { useEffect, useRef, useState } from "preact/hooks";
import type { Answer } from "../answer";
import { formatShare, formatTime } from "../numbers";
import { type Block, layOut } from "../segments";
import { nameLabel } from "../words";

interface Props {
  answer: Answer;
  seek(timeS: number): void;
}

/** Stretches of one label, in place; a click goes there, as the slider does by keyboard. */
export function SegmentBar({ answer, seek }: Props) {
  const list = useRef<HTMLOListElement>(null);
  const [widthPx, setWidthPx] = useState(0);
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setWidthPx(entry?.contentRect.width ?? 0));
    if (list.current) watcher.observe(list.current);
    return () => watcher.disconnect();
  }, []);
  function goTo(e: MouseEvent): void {
    const edges = list.current?.getBoundingClientRect();
    if (edges?.width) seek(((e.clientX - edges.left) / edges.width) * answer.durationS);
  }
  return (
    <ol class="segments" aria-label="Segments" ref={list} onClick={goTo}>
      {layOut(answer.segments, answer.durationS, widthPx).map((block) => (
        <Item key={block.left} block={block} />
      ))}
    </ol>
  );
}

function Item({ block: { segment, left, width, room } }: { block: Block }) {
  const label = nameLabel(segment.label);
  const span = `${formatTime(segment.startS)} to ${formatTime(segment.endS)}`;
  const share = segment.confidence === null ? "" : ` ${formatShare(segment.confidence)}`;
  const short = segment.label ? segment.label.slice(0, 3) : "–";
  const full = segment.label ? `${segment.label}${share}` : "no answer";
  return (
    <li
      class={segment.label ? `of-${segment.label}` : "of-none"}
      style={{ left: `${left * 100}%`, width: `${width * 100}%` }}
      title={`${label}${share}, ${span}`}
    >
      <span aria-hidden="true">{room === "full" ? full : room === "short" ? short : ""}</span>
      <span class="unseen">
        {label}
        {share}, {span}
      </span>
    </li>
  );
}
