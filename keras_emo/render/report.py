"""An HTML report of one recording's timeline: a single file for people."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from keras_emo.inference.bundle import MODEL, Bundle
from keras_emo.inference.manifest import Evaluation
from keras_emo.inference.predict import IllustratedTimeline, Thumbnail
from keras_emo.inference.results import Segment, Timeline
from keras_emo.io import open_output
from keras_emo.labels import EMOTIONS
from keras_emo.render.chart import encode_chart
from keras_emo.render.html import encode_image, escape, render_facts, render_page, render_table
from keras_emo.render.writers import NOTHING, format_time

NOTICE = (
    "This names the expression that people would perceive in face and voice, not what somebody "
    "feels. The network learned from acted speech of few speakers and is often wrong. It must not "
    "decide about persons. Inferring emotions of people at work or in education is banned in the "
    "European Union (Regulation 2024/1689, Article 5)."
)
MAX_ROWS = 300  # of the table of windows; of a longer recording it shows every nth
MAX_TOLD = 12  # segments that the chart's description names
FACE_PX = 104
_JPEG_QUALITY = 88
_STYLE = """
.notice { border-left: .3rem solid #d55e00; background: var(--box); padding: .75rem 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
.faces { display: grid; grid-template-columns: repeat(auto-fill, 104px); gap: .75rem }
figure { margin: 0 }
.faces img { border-radius: .3rem; display: block } figcaption { font-size: .9rem }
summary { cursor: pointer } .scroll { overflow-x: auto }
"""


def write_report(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Write render_report's page in one step. Raises EnvironmentFailure."""
    with open_output(Path(path)) as stream:
        stream.write(render_report(timeline))


def render_report(timeline: Timeline) -> str:
    """The page; text from users and files is escaped.

    It shows faces and the bundle if they are known, see IllustratedTimeline.
    """
    thumbnails: Sequence[Thumbnail] = ()
    bundle: Bundle | None = None
    if isinstance(timeline, IllustratedTimeline):
        thumbnails, bundle = timeline.thumbnails, timeline.bundle
    name = Path(timeline.path).name
    parts = [
        f"<h1>Perceived expression in <bdi>{escape(name)}</bdi></h1>",
        f'<p class="notice" role="note"><strong>Please read first.</strong> {escape(NOTICE)}</p>',
    ]
    sections = {
        "In short": render_facts(_summarize(timeline)),
        "Over time": _show_chart(timeline),
        "Segments": _list_segments(timeline.segments),
        "Faces": _show_faces(thumbnails),
        "States and warnings": _list_problems(timeline),
        "Every window": _list_windows(timeline),
    }
    if bundle is not None:
        sections["Network"] = render_facts(_list_facts(bundle))
    parts += [f"<h2>{title}</h2>\n{section}" for title, section in sections.items()]
    return render_page(f"Perceived expression in {name}", parts, _STYLE)


def _summarize(timeline: Timeline) -> list[tuple[str, str]]:
    predicted = sum(window.label is not None for window in timeline.windows)
    return [
        ("File", Path(timeline.path).name),
        ("Length", format_time(timeline.end_s)),
        ("Most of the time", _rank_labels(timeline.segments)),
        ("Windows", f"{len(timeline.windows)} of {timeline.window_s:g} s, one every "
         f"{timeline.hop_s:g} s; {predicted} with a prediction"),
    ]  # fmt: skip


def _rank_labels(segments: Sequence[Segment]) -> str:
    """The three labels of the longest total time, with their part of the recording."""
    lengths_s: defaultdict[str, float] = defaultdict(float)
    for segment in segments:
        lengths_s[segment.label or NOTHING] += segment.end_s - segment.start_s
    total_s = max(sum(lengths_s.values()), 1e-9)
    ranked = sorted(lengths_s.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{label} {100 * s / total_s:.0f} %" for label, s in ranked) or "nothing"


def _show_chart(timeline: Timeline) -> str:
    """The chart, and its segments in words for those who cannot see it."""
    words = "; ".join(
        f"{s.label or NOTHING} from {format_time(s.start_s)} to {format_time(s.end_s)}"
        for s in timeline.segments[:MAX_TOLD]
    )
    rest = len(timeline.segments) - MAX_TOLD
    words += f"; and {rest} more" if rest > 0 else ""
    return (
        f'<figure><img alt="Seven probabilities over time, stacked, and segments: {words}" '
        f'src="{encode_image(encode_chart(timeline), "png")}"><figcaption>Above: the probabilities '
        "of the seven expressions over time; below: segments.</figcaption></figure>"
    )


def _list_segments(segments: Sequence[Segment]) -> str:
    rows = [
        (s.label or NOTHING, format_time(s.start_s), format_time(s.end_s),
         f"{s.end_s - s.start_s:.1f}", "" if s.confidence is None else f"{100 * s.confidence:.0f}")
        for s in segments
    ]  # fmt: skip
    heads = ("expression", "from", "to", "length, s", "mean probability, %")
    return render_table("Stretches with one expression each", heads, rows)


def _show_faces(faces: Sequence[Thumbnail]) -> str:
    if not faces:
        return "<p>No face was found, or the network uses the voice only.</p>"
    figures = []
    for face in faces:
        lines = [format_time(face.time_s), face.label or NOTHING]
        if face.face_id is not None:
            lines.append(f"person {face.face_id + 1}")
        figures.append(
            f'<figure><img alt="Face at {lines[0]}" width="{FACE_PX}" height="{FACE_PX}" '
            f'src="{_encode_face(face.crop)}"><figcaption>{"<br>".join(lines)}</figcaption>'
            "</figure>"
        )
    return (
        "<p>As the network receives them, with the prediction of their window.</p>"
        f'<div class="faces">{"".join(figures)}</div>'
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
        return "<p>None: every window has what the network uses, and the file is complete.</p>"
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _list_windows(timeline: Timeline) -> str:
    n = len(timeline.windows)
    every = max(1, -(-n // MAX_ROWS))
    rows = []
    for window in timeline.windows[::every]:
        probs = [f"{100 * window.probs[e]:.0f}" if window.probs else "" for e in EMOTIONS]
        rows.append((format_time(window.start_s), window.label or NOTHING, *probs))
    caption = f"Probabilities in %, by the start of the window; {n} windows"
    caption += f", every {every}th is shown" if every > 1 else ""
    table = render_table(caption, ("start", "expression", *EMOTIONS), rows)
    return f'<details><summary>The numbers</summary><div class="scroll">{table}</div></details>'


def _list_facts(bundle: Bundle) -> list[tuple[str, object]]:
    manifest = bundle.manifest
    n_speakers = len(manifest.corpus.split.train)
    return [
        ("Bundle", manifest.name),
        ("Network", f"{manifest.model}, {manifest.precision}"),
        ("Uses", " and ".join(manifest.modalities)),
        ("Trained on", f"{manifest.corpus.name}, {n_speakers} speakers"),
        ("Accuracy on held-out speakers", _describe_accuracy(manifest.metrics)),
        ("License of the weights", manifest.license),
        ("sha256 of model.onnx", manifest.files[MODEL].sha256),
        ("Made with", f"keras_emo {manifest.versions.get('keras_emo', 'unknown')}"),
    ]


def _describe_accuracy(evaluations: Mapping[str, Evaluation]) -> str:
    """On the test speakers, or of cross-validation; a bundle need not have any."""
    for name, how in (("test", ""), ("folds", ", of networks trained in the same way")):
        if name in evaluations:
            metrics = evaluations[name].metrics
            return f"{metrics} % of {metrics.n_clips} clips, 95 % interval in parentheses{how}"
    return "unknown"
