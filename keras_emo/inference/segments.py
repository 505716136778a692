"""Window probabilities to segments of one label each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from keras_emo.inference.results import Probs, Segment
from keras_emo.labels import EMOTIONS

# With windows of 3 s a second apart, a change has to last about 3 s to count.
SMOOTH_S = 3.0  # width of the moving average over windows
MARGIN = 0.1  # by which another label must lead, on average over MIN_SEGMENT_S
MIN_SEGMENT_S = 3.0


def find_segments(
    probs: np.ndarray, window_s: float, hop_s: float, duration_s: float
) -> list[Segment]:
    """Segments in order, from 0 to duration_s without gaps.

    probs: float (n_windows, 7), window i from i * hop_s on; a row of NaN abstains. Probabilities
    are averaged over SMOOTH_S about each window. A segment goes on until another label leads its
    own by MARGIN, on average over the next MIN_SEGMENT_S; no segment is shorter than that, unless
    windows that abstain cut it short. Those are segments of their own.
    """
    smoothed = smooth(probs, max(1, round(SMOOTH_S / hop_s)))
    labels = choose_labels(smoothed, max(1, round(MIN_SEGMENT_S / hop_s)))
    edges_s = find_edges(len(probs), window_s, hop_s, duration_s).tolist()
    segments, first = [], 0
    for label, run in groupby(labels.tolist()):
        last = first + len(list(run))
        known = label >= 0
        confidence = float(probs[first:last, label].mean()) if known else None
        name = EMOTIONS[label] if known else None
        segments.append(Segment(edges_s[first], edges_s[last], name, confidence))
        first = last
    return segments


def find_edges(n_windows: int, window_s: float, hop_s: float, duration_s: float) -> np.ndarray:
    """Times float64 (n_windows + 1,): window i speaks for what lies between edges i and i + 1.

    That is a hop about its middle, and for the first and last also what is before and after.
    """
    edges_s: np.ndarray = (np.arange(n_windows + 1) - 0.5) * hop_s + window_s / 2
    edges_s = np.minimum(edges_s, duration_s)
    edges_s[0], edges_s[-1] = 0.0, duration_s
    return edges_s


def smooth(probs: np.ndarray, n_windows: int) -> np.ndarray:
    """Centered moving average over n_windows rows, an even number counts as one more.

    Rows of NaN stay, and nothing is averaged across them; float64, of the same shape.
    """
    half = n_windows // 2
    result = np.array(probs, np.float64)
    for first, last in find_stretches(~np.isnan(result[:, 0])):
        for i in range(first, last):
            result[i] = probs[max(first, i - half) : min(last, i + half + 1)].mean(axis=0)
    return result


def find_stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and one past last index of every run of True; mask bool (n,)."""
    steps = np.diff(np.pad(mask.astype(np.int8), 1))
    firsts, lasts = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def choose_labels(probs: np.ndarray, min_windows: int) -> np.ndarray:
    """A label for each row of smoothed probabilities, -1 for NaN; int (n_windows,).

    Hysteresis as in find_segments: every run is at least min_windows long, or as long as
    the stretch between rows of NaN.
    """
    labels = np.full(len(probs), -1)
    for first, last in find_stretches(~np.isnan(probs[:, 0])):
        label = int(probs[first : min(first + min_windows, last)].mean(axis=0).argmax())
        since = first
        for i in range(first, last):
            coming = probs[i : i + min_windows]
            if i - since >= min_windows and i + min_windows <= last:
                mean = coming.mean(axis=0)
                other = int(mean.argmax())
                # it must lead at once, or the change would be dated too early
                leads = probs[i, other] > probs[i, label]
                if other != label and leads and mean[other] - mean[label] >= MARGIN:
                    label, since = other, i
            labels[i] = label
    return labels


def stack_probs(probs: Sequence[Probs | None]) -> np.ndarray:
    """Probabilities of windows, None where one abstains, as float32 (n_windows, 7) with NaN."""
    rows = [[np.nan] * len(EMOTIONS) if p is None else [p[e] for e in EMOTIONS] for p in probs]
    return np.array(rows, np.float32).reshape(-1, len(EMOTIONS))
