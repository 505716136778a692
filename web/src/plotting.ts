/** The chart of probabilities over time. */

import uPlot from "uplot";
import type { Answer } from "./answer";
import { listColumns } from "./columns";
import { DASHES, EMOTIONS, WIDTHS } from "./emotions";
import { formatShare, formatTime } from "./numbers";

const HEIGHT_PX = 240;
/** Room of the chart's left axis in px; the style sheet puts bar and slider in line with it. */
const AXIS_PX = 48;
const RIGHT_PX = 18;
const STEPS_S = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600]; // between marks of time
const FEW = 40; // windows that are still marked one by one

/** A chart in an element; seek hears of clicks and drags. */
export function makeChart(element: HTMLElement, answer: Answer, seek: (timeS: number) => void): uPlot {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const columns = listColumns(answer);
  const inner = columns[0].map((_, i) => i).slice(1, -1); // the ends are no windows
  const axis: uPlot.Axis = {
    stroke: colour("soft"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
  };
  const plot = new uPlot(
    {
      width: element.clientWidth,
      height: HEIGHT_PX,
      padding: [10, RIGHT_PX, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 }, y: false },
      scales: { x: { time: false, range: [0, answer.durationS || 1] }, y: { range: [0, 1] } },
      axes: [
        {
          ...axis,
          size: 30,
          incrs: STEPS_S,
          space: 64,
          values: (_, splits) => splits.map(nameTick),
        },
        { ...axis, size: AXIS_PX, splits: [0, 0.25, 0.5, 0.75, 1], values: (_, splits) => splits.map(formatShare) },
      ],
      series: [
        {},
        ...EMOTIONS.map((name): uPlot.Series => ({
          label: name,
          stroke: colour(name),
          width: WIDTHS[name],
          dash: [...DASHES[name]],
          points: { show: inner.length <= FEW, size: 6, fill: colour("card"), filter: () => inner },
        })),
      ],
    },
    columns,
    element,
  );
  const head = document.createElement("div");
  head.className = "playhead";
  plot.over.append(head);
  listenForSeeks(plot, seek);
  return plot;
}

/** A time on the axis: whole seconds without their tenths. */
function nameTick(timeS: number): string {
  return formatTime(timeS).replace(/\.0$/, "");
}

/** Put the line of the present moment where it belongs. */
export function movePlayhead(plot: uPlot, timeS: number): void {
  const head = plot.over.querySelector<HTMLElement>(".playhead");
  const max = plot.scales.x?.max ?? 0;
  if (head && max > 0) head.style.left = `${Math.min(timeS / max, 1) * 100}%`;
}

function listenForSeeks(plot: uPlot, seek: (timeS: number) => void): void {
  const { over } = plot;
  const goTo = (e: PointerEvent): void => seek(plot.posToVal(e.clientX - over.getBoundingClientRect().left, "x"));
  over.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    over.setPointerCapture(e.pointerId);
    goTo(e);
  });
  over.addEventListener("pointermove", (e) => {
    if (over.hasPointerCapture(e.pointerId)) goTo(e);
  });
}
