import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Answer } from "../answer";
import { makeChart, movePlayhead } from "../plotting";

interface Props {
  answer: Answer;
  timeS: number;
  seek(timeS: number): void;
}

/** The seven probabilities over time, with a line at the moment; a click or a drag goes elsewhere. */
export function Chart({ answer, timeS, seek }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useDarkScheme();

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = makeChart(element, answer, seek);
    plot.current = made;
    movePlayhead(made, timeS);
    const watcher = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height: made.height });
    });
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [answer, seek, scheme]);

  useEffect(() => {
    if (plot.current) movePlayhead(plot.current, timeS);
  }, [timeS]);

  return (
    <div
      class="chart"
      ref={host}
      role="img"
      aria-label="Line chart of seven probabilities over time. The same figures can be shown as a table."
    />
  );
}

/** Whether the colours are the dark ones; the chart is drawn anew when it changes. */
function useDarkScheme(): boolean {
  const query = "(prefers-color-scheme: dark)";
  const [dark, setDark] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const hear = (): void => setDark(list.matches);
    list.addEventListener("change", hear);
    return () => list.removeEventListener("change", hear);
  }, []);
  return dark;
}
