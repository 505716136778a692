"""The HTML report of a timeline: one file that loads and runs nothing."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from keras_emo import cli
from keras_emo.errors import Reason
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.predict import MAX_THUMBNAILS, Thumbnail, TimelineBuilder
from keras_emo.inference.results import Damage, Face
from keras_emo.labels import EMOTIONS
from keras_emo.render.html import escape, render_table
from keras_emo.render.report import MAX_ROWS, render_report, write_report

from .timelines import make_timeline, make_window

SHIPPED = Path(__file__).parents[2] / "saved_models" / "default"
MALICIOUS = "\"><script>alert(1)</script><img src=x onerror='a()'>\x1b[2J\udcff&lt;.mp4"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that elements nest; collects them with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "

    def all(self, tag):
        return [a for t, a in self.elements if t == tag]


def record(n=40, **changes):
    """Happy first, then windows that abstain, then sad; a face and a warning."""
    probs = np.full((n, 7), 0.05, np.float32)
    probs[: n // 2, EMOTIONS.index("happy")] = 0.7
    probs[n // 2 :, EMOTIONS.index("sad")] = 0.7
    windows = [make_window(float(i), row) for i, row in enumerate(probs)]
    for i in range(n // 2, min(n // 2 + 8, n)):
        windows[i] = make_window(float(i), None, states=(Reason.NO_FACE,))
    crop = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    given = {
        "windows": tuple(windows), "warnings": ("3 damaged packets",),
        "bundle": load_bundle(SHIPPED), "thumbnails": (Thumbnail("happy", 0, 1.5, crop),),
    } | changes  # fmt: skip
    return make_timeline(probs, **given)


def test_the_page():
    """What it contains, also without the pictures; it loads and runs nothing."""
    html = render_report(record())
    page = Page(html)
    text, info = page.text, json.loads((SHIPPED / "bundle.json").read_text())
    accuracy = 100 * info["metrics"]["folds"]["accuracy"]
    for expected in (
        "talk.mp4", "0:42.0", "happy", "sad", "no prediction", "no face in 8 of 40 windows",
        "3 damaged packets", "CC-BY-NC-SA-4.0", info["model"], "not what somebody feels",
        "Article 5", f"{accuracy:.1f} (", "% of 1200 clips", info["files"]["model.onnx"]["sha256"],
    ):  # fmt: skip
        assert expected in text, expected
    assert [t for t, _ in page.elements if re.fullmatch("h[1-6]", t)] == ["h1"] + ["h2"] * 7
    assert page.all("html") == [{"lang": "en"}]
    chart, face = page.all("img")
    assert "happy from 0:00.0 to" in chart["alt"]  # the chart in words
    assert face["alt"] == "Face at 0:01.5"
    assert {a["scope"] for a in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert not page.all("script") + page.all("link")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "data:image/").startswith("data:image/")
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html


def test_malicious_names_are_only_text(tmp_path):
    """Of the file and in the bundle."""
    folder = shutil.copytree(SHIPPED, tmp_path / "bundle")
    info = json.loads((folder / "bundle.json").read_text())
    changes = {"name": MALICIOUS, "licence": MALICIOUS, "model": MALICIOUS, "metrics": {}}
    (folder / "bundle.json").write_text(json.dumps(info | changes))
    timeline = record(path=MALICIOUS, warnings=(MALICIOUS,), bundle=load_bundle(folder))
    write_report(tmp_path / "a.html", timeline)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert len(page.all("img")) == 2
    assert "\x1b" not in text
    assert page.text.count("<script>alert(1)</script>") == 4
    assert "unknown" in page.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "bundle"]


def test_pictures_hold_what_the_network_received():
    page = Page(render_report(record()))
    chart, face = (
        cv2.imdecode(np.frombuffer(base64.b64decode(image["src"].partition(",")[2]), np.uint8), 1)
        for image in page.all("img")
    )
    assert chart.shape == (640, 1600, 3)
    assert np.abs(face.reshape(-1, 3).mean(axis=0) - (50, 100, 200)).max() < 4


def test_without_faces_problems_bundle_or_predictions():
    windows = tuple(make_window(float(i), np.full(7, 1 / 7)) for i in range(3))
    timeline = record(3, windows=windows, warnings=(), thumbnails=(), bundle=None)
    text = render_report(timeline)
    assert timeline.to_html() == text
    assert "the file is complete" in text
    assert "No face was found" in text
    assert "<h2>Network</h2>" not in text
    nothing = render_report(make_timeline(np.full((3, 7), np.nan)))
    assert "no prediction 100 %" in Page(nothing).text


@pytest.mark.parametrize("n", [1, 14_400])
def test_any_length(n):
    text = render_report(record(n))
    page = Page(text)
    assert len(page.all("tr")) <= MAX_ROWS + 20
    assert len(text) < 400_000
    assert ("is shown" in text) == (n > MAX_ROWS)


@pytest.mark.parametrize("n", [0, 1, 9, 5000])
def test_few_faces_spread_over_any_length(n):
    stream = SimpleNamespace(
        path=Path("a.mp4"), window_s=3.0, hop_s=1.0, duration_s=n, damage=Damage(), warnings=()
    )
    builder = TimelineBuilder(stream, None)
    for i in range(n):
        face, crop = Face(0, (0.0, 0.0, 9.0, 9.0)), np.zeros((4, 4, 3), np.uint8)
        builder.add(make_window(float(i), "angry", face=face, crop=crop, crop_s=float(i)))
    times_s = [t.time_s for t in builder.build().thumbnails]
    assert len(times_s) == min(n, MAX_THUMBNAILS) == min(n, 8)
    assert times_s == sorted(set(times_s))
    if n == 5000:
        assert (times_s[0], times_s[-1] > 0.9 * n, max(np.diff(times_s)) < 0.25 * n) == (0, 1, 1)


def test_tables_escape_every_cell():
    text = render_table("<c>", ["<h>"], [["<r>", "<d>"]])
    assert re.findall("<[chrd]>", text) == []
    assert escape('a"<\n\ud800') == "a&quot;&lt;??"


def test_of_a_video(make, tmp_path):
    """The shipped bundle and a clip without a face."""
    clip, page = tmp_path / "<i>a.mp4", tmp_path / "a.html"
    make.video(clip, [np.full((120, 160, 3), 90, np.uint8)] * 40, 10, sound=make.sine(4.0))
    assert cli.main(["predict", str(clip), "--timeline", "--report", str(page)]) == 4
    text = Page(page.read_text(encoding="utf-8")).text
    assert "<i>a.mp4" in text
    assert "no face in 2 of 2 windows" in text
