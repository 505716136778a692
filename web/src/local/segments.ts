/** Window probabilities to segments of one label each, as inference/segments.py finds them. */

const SMOOTH_S = 3;
const MARGIN = 0.1;
const MIN_SEGMENT_S = 3;

/** label: index, or null where nothing could be said. */
export interface Stretch {
  readonly startS: number;
  readonly endS: number;
  readonly label: number | null;
  readonly confidence: number | null;
}
type Row = readonly number[];

/** Segments in order, from 0 to durationS; rows: probabilities of windows, null where one abstains. */
export function findSegments(rows: readonly (Row | null)[], windowS: number, hopS: number, durationS: number): Stretch[] {
  const smoothed = smooth(rows, Math.floor(Math.max(1, Math.round(SMOOTH_S / hopS)) / 2));
  const labels = chooseLabels(smoothed, Math.max(1, Math.round(MIN_SEGMENT_S / hopS)));
  const edges = rows.map((_, i) => (i ? Math.min((i - 0.5) * hopS + windowS / 2, durationS) : 0));
  edges.push(durationS);
  const segments: Stretch[] = [];
  for (let first = 0, end = 0; first < labels.length; first = end) {
    while (end < labels.length && labels[end] === labels[first]) end++;
    const label = labels[first] ?? null;
    const probs = label === null ? [] : rows.slice(first, end).map((row) => row?.[label] ?? 0);
    const confidence = label === null ? null : probs.reduce((a, b) => a + b, 0) / probs.length;
    segments.push({ startS: edges[first] as number, endS: edges[end] as number, label, confidence });
  }
  return segments;
}

/** Moving average over half a width on each side, never across rows that abstain. */
function smooth(rows: readonly (Row | null)[], half: number): (Row | null)[] {
  return rows.map((row, i) => {
    if (!row) return null;
    let [low, high] = [i, i + 1];
    while (low > i - half && rows[low - 1]) low--;
    while (high < i + half + 1 && rows[high]) high++;
    return average(rows.slice(low, high) as Row[]);
  });
}

function average(rows: readonly Row[]): number[] {
  return (rows[0] ?? []).map((_, label) => rows.reduce((sum, row) => sum + (row[label] as number), 0) / rows.length);
}

/** A label a row; one goes on until another leads it by MARGIN over the next minWindows. */
function chooseLabels(rows: readonly (Row | null)[], minWindows: number): (number | null)[] {
  const labels: (number | null)[] = rows.map(() => null);
  for (let first = 0, last = 0; first < rows.length; first = last) {
    last = first + 1;
    if (!rows[first]) continue;
    while (last < rows.length && rows[last]) last++;
    const mean = (from: number): number[] => average(rows.slice(from, Math.min(from + minWindows, last)) as Row[]);
    let label = findTop(mean(first));
    for (let i = first, since = first; i < last; i++) {
      const [here, ahead] = [rows[i] as Row, mean(i)];
      const next = findTop(ahead);
      // it must lead at once, or the change would be dated too early
      const leads = (here[next] as number) > (here[label] as number);
      const enough = leads && (ahead[next] as number) - (ahead[label] as number) >= MARGIN;
      if (enough && i - since >= minWindows && i + minWindows <= last) [label, since] = [next, i];
      labels[i] = label;
    }
  }
  return labels;
}

/** Index of the largest. */
export function findTop(values: Row): number {
  return values.reduce((best, v, i) => (v > (values[best] as number) ? i : best), 0);
}
