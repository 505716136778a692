"""The HTML report of a recording: one file that runs nothing and hides nothing."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from keras_emo.render.plot import average_columns
from keras_emo.render.thumbnails import MAX_FACES, FaceSheet, Thumbnail

from keras_emo.cli import main as cli
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.segments import find_edges, find_segments
from keras_emo.labels import EMOTIONS
from keras_emo.render.chart import draw_timeline
from keras_emo.render.html import escape, render_table
from keras_emo.render.report import MAX_ROWS, Recording, render_report, write_report

SHIPPED = Path(__file__).parents[2] / "saved_models" / "default"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror='a()'>\x1b[2J\udcff&lt;.mp4"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that elements nest; collects them with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [a for t, a in self.elements if t == tag]


def record(n=40, name="talk.mp4", **changes):
    """Happy first, then nothing is answered, then sad."""
    probs = np.full((n, 7), 0.05, np.float32)
    probs[: n // 2, EMOTIONS.index("happy")] = 0.7
    probs[n // 2 :, EMOTIONS.index("sad")] = 0.7
    probs[n // 2 : n // 2 + 8] = np.nan
    segments = find_segments(probs, 3.0, 1.0, n + 2.0)
    crop = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    given = {"states": {"no_face": 8}, "warnings": ["3 damaged packets"],
             "faces": [Thumbnail("happy", 0, 1.5, crop)]}  # fmt: skip
    return Recording(name, probs, segments, 3.0, 1.0, n + 2.0, **(given | changes))


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(SHIPPED)


def test_what_the_page_says(bundle):
    page = Page(render_report(record(), bundle))
    text = " ".join(page.text)
    accuracy = 100 * bundle.info["metrics"]["folds"]["accuracy"]
    for said in (
        "talk.mp4", "0:42.0", "happy", "sad", "no answer", "no face in 8 of 40 windows",
        "3 damaged packets", "CC-BY-NC-SA-4.0", bundle.info["model"], "not what somebody feels",
        "Article 5", f"{accuracy:.1f} % of 1200 clips",
        bundle.info["files"]["model.onnx"]["sha256"],
    ):  # fmt: skip
        assert said in text, said
    assert [t for t, _ in page.elements if re.fullmatch("h[1-6]", t)] == ["h1"] + ["h2"] * 7
    assert page.all("html") == [{"lang": "en"}]


def test_it_can_be_read_without_the_pictures(bundle):
    page = Page(render_report(record(), bundle))
    drawings = [a for a in page.all("svg") if a.get("aria-hidden") != "true"]
    assert [a["role"] for a in drawings] == ["img"]
    named = {a.get("id") for _, a in page.elements}
    assert set(drawings[0]["aria-labelledby"].split()) <= named
    assert all(a["alt"] for a in page.all("img"))
    assert {a["scope"] for a in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table")) == 2
    assert "happy from 0:00.0 to" in "".join(page.text)  # the drawing in words


def test_nothing_is_loaded_and_nothing_runs(bundle):
    text = render_report(record(), bundle)
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:image/jpeg;base64,"[:5])
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_a_hostile_name_is_only_text(bundle, tmp_path):
    recording = record(name=HOSTILE, warnings=[HOSTILE], states={HOSTILE: 1})
    write_report(tmp_path / "a.html", recording, bundle)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert len(page.all("img")) == 1
    assert "\x1b" not in text
    assert "".join(page.text).count("<script>alert(1)</script>") == 5
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_a_hostile_bundle_is_only_text(bundle):
    info = json.loads(json.dumps(bundle.info))
    info |= {"name": HOSTILE, "licence": HOSTILE, "model": HOSTILE, "metrics": {"test": 3}}
    info["corpus"]["name"] = HOSTILE
    page = Page(render_report(record(), SimpleNamespace(info=info, modalities=("face", "voice"))))
    assert not page.all("script")
    assert "unknown" in "".join(page.text)


def test_faces_are_jpegs_of_what_the_network_saw(bundle):
    page = Page(render_report(record(), bundle))
    (image,) = page.all("img")
    data = base64.b64decode(image["src"].partition(",")[2])
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(bgr.reshape(-1, 3).mean(axis=0) - (50, 100, 200)).max() < 4
    blind = SimpleNamespace(info=bundle.info, modalities=("voice",))
    assert "sees no faces" in render_report(record(faces=[]), blind)


def test_no_problems_are_said_too(bundle):
    text = render_report(record(states={}, warnings=[]), bundle)
    assert "the file is whole" in text


@pytest.mark.parametrize("n", [1, 5, 14_400])
def test_any_length(n, bundle):
    text = render_report(record(n), bundle)
    page = Page(text)
    rows = len(page.all("tr"))
    assert rows <= MAX_ROWS + 20
    assert len(text) < 400_000
    assert ("is shown" in text) == (n > MAX_ROWS)


def test_nothing_was_answered(bundle):
    probs = np.full((3, 7), np.nan, np.float32)
    recording = Recording("a.wav", probs, find_segments(probs, 3.0, 1.0, 5.0), 3.0, 1.0, 5.0)
    text = render_report(recording, bundle)
    assert "no answer 100 %" in text
    Page(text)


def test_the_drawing_shows_the_shares():
    """Half the height for a label with half the probability, over its own time only."""
    probs = np.zeros((4, 7), np.float32)
    probs[:2, 0] = 1.0
    probs[2:, (3, 5)] = 0.5
    edges_s = find_edges(4, 1.0, 1.0, 4.0)
    root = ElementTree.fromstring(draw_timeline(probs, edges_s, [], "a & b", "<c>"))
    assert [root[0].text, root[1].text] == ["a & b", "<c>"]
    shapes = {p.get("fill"): p.get("d") for p in root.iter("path") if p.get("fill")}
    corners = {
        fill: np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", d), float) for fill, d in shapes.items()
    }
    angry, happy, sad = (corners[f] for f in ("#d55e00", "#f0e442", "#0072b2"))
    left, right = angry[:, 0].min(), angry[:, 0].max()
    top, bottom = angry[:, 1].min(), angry[:, 1].max()
    middle = angry[:, 0][angry[:, 1] < bottom].max()  # from there on it has no height
    assert middle == pytest.approx((left + right) / 2, abs=0.2)
    assert (sad[:, 1].min(), happy[:, 1].max()) == (top, bottom)
    assert happy[:, 1][happy[:, 0] > middle + 1].min() == pytest.approx((top + bottom) / 2, abs=0.2)
    assert {p.get("fill") for p in root.iter("rect")} == {"url(#hatch)", "none"}


def test_columns_average_what_was_answered():
    probs = np.eye(7, dtype=np.float32)[[0, 1, 2, 3]]
    probs[2:] = np.nan
    columns = average_columns(probs, np.arange(5.0), 2)
    assert columns[0, :2].tolist() == [0.5, 0.5]
    assert np.isnan(columns[1]).all()
    assert average_columns(probs, np.arange(5.0), 8)[1].argmax() == 0


def test_few_faces_spread_over_any_length():
    for n in (0, 1, 5, 8, 9, 33, 5000):
        sheet = FaceSheet()
        for i in range(n):
            sheet.add(SimpleNamespace(crop=None))
            crop = float(i), np.zeros((4, 4, 3), np.uint8)
            sheet.add(SimpleNamespace(crop=crop, label="sad", face_id=0))
            assert len(sheet._kept) <= 4 * MAX_FACES + 1
        times_s = [t.time_s for t in sheet.pick()]
        assert len(times_s) == min(n, MAX_FACES)
        assert times_s == sorted(set(times_s))
        if n > 100:
            assert times_s[0] == 0
            assert times_s[-1] > 0.9 * n
            assert max(np.diff(times_s)) < 0.25 * n


def test_tables_escape_every_cell():
    text = render_table("<c>", ["<h>"], [["<r>", "<d>"]])
    assert re.findall("<[chrd]>", text) == []
    assert escape('a"<\n\ud800') == "a&quot;&lt;??"


def test_the_option_needs_a_timeline_of_one_file(tmp_path, capsys):
    page = str(tmp_path / "a.html")
    assert cli.main(["predict", "a.mp4", "--report", page]) == 2
    assert "--timeline" in capsys.readouterr().err
    assert cli.main(["predict", "a.mp4", "b.mp4", "--timeline", "--report", page]) == 2
    assert "goes with one file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_of_a_video(make, tmp_path):
    """The bundle that is shipped, a clip without a face: the page says so."""
    clip, page = tmp_path / "<i>a.mp4", tmp_path / "a.html"
    make.video(clip, [np.full((120, 160, 3), 90, np.uint8)] * 40, 10, sound=make.sine(4.0))
    code = cli.main(["predict", str(clip), "--timeline", "--report", str(page)])
    text = page.read_text(encoding="utf-8")
    assert code == 4
    assert "&lt;i&gt;a.mp4" in text
    assert "no face in 2 of 2 windows" in text
    Page(text)
