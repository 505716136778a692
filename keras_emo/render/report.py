"""An HTML report of one recording's timeline: a single file for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keras_emo.inference.bundle import Bundle
from keras_emo.inference.predict import IllustratedTimeline, Thumbnail
from keras_emo.inference.results import Segment, Timeline
from keras_emo.inference.segments import find_edges, stack_probs
from keras_emo.labels import EMOTIONS
from keras_emo.output import open_output
from keras_emo.render.chart import color_of, draw_timeline
from keras_emo.render.html import encode_image, escape, render_facts, render_page, render_table
from keras_emo.render.writers import format_time

NOTICE = (
    "This names the expression that people would perceive in face and voice, not what somebody "
    "feels. The network learned from acted speech of few speakers and is often wrong. It must not "
    "decide about persons. Inferring emotions of people at work or in education is banned in the "
    "European Union (Regulation 2024/1689, Article 5)."
)
MAX_ROWS = 300  # of the table of windows; a longer recording shows every so many
FACE_PX = 104
_JPEG_QUALITY = 88
_STYLE = """
.notice { border-left: .3rem solid #d55e00; background: var(--box); padding: .75rem 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
ul.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; padding: 0; list-style: none }
.legend svg { width: .9rem; height: .9rem; vertical-align: -.1rem; margin-right: .35rem }
.faces { display: grid; grid-template-columns: repeat(auto-fill, 104px); gap: .75rem }
.faces figure { margin: 0 }
.faces img { border-radius: .3rem; display: block } figcaption { font-size: .9rem }
summary { cursor: pointer } .scroll { overflow-x: auto }
"""


def write_report(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Write render_timeline's page in one step. Raises EnvironmentFailure."""
    with open_output(Path(path)) as stream:
        stream.write(render_timeline(timeline))


def render_timeline(timeline: Timeline) -> str:
    """The page. What a user or a file named is escaped.

    Faces and bundle are on it if they are known, see IllustratedTimeline.
    """
    name = Path(timeline.path).name
    probs = stack_probs([w.probs for w in timeline.windows])
    thumbnails: Sequence[Thumbnail] = ()
    bundle: Bundle | None = None
    if isinstance(timeline, IllustratedTimeline):
        thumbnails, bundle = timeline.thumbnails, timeline.bundle
    parts = [
        f"<h1>Perceived expression in <bdi>{escape(name)}</bdi></h1>",
        f'<p class="notice" role="note"><strong>Please read first.</strong> {escape(NOTICE)}</p>',
        "<h2>In short</h2>",
        render_facts(_summarize(timeline, probs)),
        "<h2>Over time</h2>",
        _draw(timeline, probs),
        "<h2>Segments</h2>",
        _list_segments(timeline.segments),
        "<h2>Faces</h2>",
        _show_faces(thumbnails, bundle),
        "<h2>States and warnings</h2>",
        _list_problems(timeline),
        "<h2>Every window</h2>",
        _list_windows(timeline, probs),
    ]
    if bundle is not None:
        parts += ["<h2>Network</h2>", render_facts(_describe_bundle(bundle))]
    return render_page(f"Perceived expression in {name}", parts, _STYLE)


def _summarize(timeline: Timeline, probs: np.ndarray) -> list[tuple[str, str]]:
    answered = int((~np.isnan(probs[:, 0])).sum())
    return [
        ("File", Path(timeline.path).name),
        ("Length", format_time(timeline.end_s)),
        ("Most of the time", _describe_shares(timeline)),
        ("Windows", f"{len(probs)} of {timeline.window_s:g} s, one every "
         f"{timeline.hop_s:g} s; {answered} answered"),
    ]  # fmt: skip


def _describe_shares(timeline: Timeline) -> str:
    """The labels with the largest shares of the timeline."""
    lengths_s: dict[str, float] = {}
    for segment in timeline.segments:
        label = segment.label or "no answer"
        lengths_s[label] = lengths_s.get(label, 0.0) + segment.end_s - segment.start_s
    total_s = max(sum(lengths_s.values()), 1e-9)
    ranked = sorted(lengths_s.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{label} {100 * s / total_s:.0f} %" for label, s in ranked) or "nothing"


def _draw(timeline: Timeline, probs: np.ndarray) -> str:
    edges_s = find_edges(len(probs), timeline.window_s, timeline.hop_s, timeline.end_s)
    told = "; ".join(_tell(s) for s in timeline.segments[:12])
    rest = len(timeline.segments) - 12
    told += f"; and {rest} more" if rest > 0 else ""
    title = "Seven probabilities over time, stacked, and segments below"
    swatches = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" '
        f'fill="{color_of(label)}" stroke="currentColor"/></svg>{label or "no answer"}</li>'
        for label in (*EMOTIONS, None)
    )
    drawn = draw_timeline(probs, edges_s, timeline.segments, title, told)
    return (
        f'<figure style="margin:0">{drawn}<figcaption>Upper part: the shares of the seven '
        "expressions, by time in minutes and seconds; lower part: segments.</figcaption></figure>"
        f'<ul class="legend" aria-label="Colours">{swatches}</ul>'
    )


def _tell(segment: Segment) -> str:
    times = f"{format_time(segment.start_s)} to {format_time(segment.end_s)}"
    return f"{segment.label or 'no answer'} from {times}"


def _list_segments(segments: Sequence[Segment]) -> str:
    rows = [
        (s.label or "no answer", format_time(s.start_s), format_time(s.end_s),
         f"{s.end_s - s.start_s:.1f}", "" if s.confidence is None else f"{100 * s.confidence:.0f}")
        for s in segments
    ]  # fmt: skip
    heads = ("expression", "from", "to", "length, s", "mean probability, %")
    return render_table("Stretches with one expression each", heads, rows)


def _show_faces(faces: Sequence[Thumbnail], bundle: Bundle | None) -> str:
    if not faces:
        blind = bundle is not None and "face" not in bundle.modalities
        why = "The network sees no faces." if blind else "No face was kept."
        return f"<p>{why}</p>"
    figures = []
    for face in faces:
        said = face.label or "no answer"
        lines = [format_time(face.time_s), said]
        if face.face_id is not None:
            lines.append(f"person {face.face_id + 1}")
        figures.append(
            f'<figure><img alt="Face at {lines[0]}" width="{FACE_PX}" height="{FACE_PX}" '
            f'src="{_encode_face(face.crop)}"><figcaption>{"<br>".join(lines)}</figcaption>'
            "</figure>"
        )
    return (
        f'<p>As the network saw them, with what was said of the window.</p><div class="faces">'
        f"{''.join(figures)}</div>"
    )


def _encode_face(crop: np.ndarray) -> str:
    size = (2 * FACE_PX,) * 2 if len(crop) > FACE_PX else (FACE_PX,) * 2
    how = cv2.INTER_AREA if len(crop) > size[0] else cv2.INTER_CUBIC
    bgr = cv2.cvtColor(cv2.resize(crop, size, interpolation=how), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encode_image(data.tobytes(), "jpeg")


def _list_problems(timeline: Timeline) -> str:
    n = len(timeline.windows)
    items = [
        f"{state.replace('_', ' ')} in {count} of {n} windows"
        for state, count in timeline.states.items()
    ]
    items += timeline.warnings
    if not items:
        return "<p>None: face and voice were there all the time, and the file is whole.</p>"
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _list_windows(timeline: Timeline, probs: np.ndarray) -> str:
    n = len(probs)
    every = max(1, -(-n // MAX_ROWS))
    rows = []
    for i in range(0, n, every):
        start_s, row = i * timeline.hop_s, probs[i]
        said = ["no answer", *[""] * len(row)]
        if not np.isnan(row[0]):
            said = [EMOTIONS[int(row.argmax())], *(f"{100 * p:.0f}" for p in row)]
        rows.append((format_time(start_s), *said))
    caption = f"Probabilities in %, by the start of the window; {n} windows"
    caption += f", every {every}th is shown" if every > 1 else ""
    table = render_table(caption, ("start", "answer", *EMOTIONS), rows)
    return f'<details><summary>The numbers</summary><div class="scroll">{table}</div></details>'


def _tell_accuracy(metrics: dict[str, Any]) -> str:
    """Of the test speakers, or of folds; another's bundle may hold anything."""
    try:
        tested = "test" in metrics
        figures = metrics["test" if tested else "folds"]
        low, high = (100 * v for v in figures["interval_95"]["accuracy"])
        return (
            f"{100 * figures['accuracy']:.1f} % of {figures['n_clips']} clips "
            f"(95 % interval {low:.1f} to {high:.1f})"
            f"{'' if tested else ', of networks trained in the same way'}"
        )
    except (LookupError, TypeError, ValueError):
        return "unknown"


def _describe_bundle(bundle: Bundle) -> list[tuple[str, object]]:
    info = bundle.info
    facts: list[tuple[str, object]] = [
        ("Bundle", info["name"]),
        ("Network", f"{info['model']}, {info.get('precision', 'fp32')}"),
        ("Takes", " and ".join(bundle.modalities)),
        ("Learned from", f"{info['corpus'].get('name', 'unknown')}, "
         f"{len(info['corpus']['split']['train'])} speakers"),
        ("Accuracy on people it never saw", _tell_accuracy(info["metrics"])),
        ("Licence of the weights", info.get("licence", "unknown")),
        ("sha256 of model.onnx", info["files"]["model.onnx"]["sha256"]),
        ("Made with", f"keras_emo {info['versions'].get('keras_emo', 'unknown')}"),
    ]  # fmt: skip
    return facts
