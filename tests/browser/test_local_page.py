"""The page that predicts in the browser alone, in Chromium, from a plain file server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("selenium")
pytest.importorskip("keras")

from keras_emo import load
from keras_emo.errors import EnvironmentFailure
from keras_emo.export.browser import find_wasm, write_browser
from keras_emo.inference.model import Model
from keras_emo.networks import MODELS

from .conftest import BUNDLE
from .visitor import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

TOLERANCE = 0.01  # of probabilities: int8, as shipped, rounds in its own way in WebAssembly
NO_WEBCODECS = "delete window.VideoDecoder;"


@dataclass(frozen=True)
class Site:
    """A folder behind the standard library's file server, and the requests that it got."""

    address: str
    folder: Path
    requests: list[str]


@contextmanager
def run_site(folder: Path) -> Iterator[Site]:
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(self.requestline)

    handler = partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield Site(f"http://127.0.0.1:{server.server_port}", folder, requests)
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def model() -> Model:
    return load(BUNDLE, threads=1)


@pytest.fixture(scope="module")
def wasm() -> Path:
    try:
        return find_wasm()
    except EnvironmentFailure as e:
        pytest.skip(str(e))


@pytest.fixture(scope="module")
def site(wasm: Path, model: Model, tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page") / "default"
    write_browser(folder, MODELS[model.bundle.manifest.model], model)
    with run_site(folder) as site:
        yield site


@pytest.fixture
def visitor(chromium, site: Site) -> Visitor:
    return Visitor(chromium, site.address)


@pytest.fixture
def predict(visitor: Visitor, downloads: Path):
    return partial(predict_on_page, visitor, downloads)


def predict_on_page(visitor: Visitor, downloads: Path, clip: Path) -> dict:
    """Choose a clip on the page and read the JSON that it offers for download."""
    visitor.choose(clip)
    visitor.wait("#overall")
    return json.loads(visitor.download("Download JSON", downloads / f"{clip.stem}.json"))


def check_label(result: dict, probs: dict | None, tolerance: float) -> None:
    """The most probable emotion, or one whose probability differs by no more than the tolerance."""
    if probs is None:
        assert result["label"] is None
    else:
        assert result["probs"][result["label"]] == max(result["probs"].values())
        assert probs[result["label"]] >= max(probs.values()) - 2 * tolerance


def check_same(result: dict, model: Model, clip: Path, tolerance: float = TOLERANCE) -> None:
    """The page's prediction equals Python's, for the clip and for each of its windows."""
    expected = model.predict(clip)
    check_label(result, expected.probs, tolerance)
    assert result["probs"] == pytest.approx(expected.probs, abs=tolerance)
    windows = [w.to_dict() for w in model.stream(clip, parts=True)]
    assert len(result["windows"]) == len(windows)
    for ours, theirs in zip(result["windows"], windows, strict=True):
        check_label(ours, theirs["probs"], tolerance)
        for key in ("modalities", "states"):
            assert ours[key] == theirs[key]
        for key in ("probs", "probs_face", "probs_voice"):
            assert ours[key] == (theirs[key] and pytest.approx(theirs[key], abs=tolerance))
        if theirs["face"] is None:
            assert ours["face"] is None
        else:
            assert ours["face"]["id"] == theirs["face"]["id"]
            assert ours["face"]["box"] == pytest.approx(theirs["face"]["box"], abs=0.5)


def test_the_page_predicts_as_python_does(predict, visitor, site, model, clips):
    check_same(predict(clips.talk), model, clips.talk)
    visitor.wait_until(lambda: visitor.find_all(".uplot canvas"))
    assert len(visitor.find_all(".moment .figure")) == 21
    assert visitor.read_log() == []


@pytest.mark.usefixtures("wasm")
def test_float32_agrees_to_a_thousandth(chromium, downloads, clips, tmp_path):
    """The same path without int8, whose rounding would hide small faults."""
    from keras_emo.export.bundle import export_bundle
    from keras_emo.spec import ClipSpec, FaceSpec

    from ..contract.small_networks import PROVENANCE, build_tiny

    name, spec = "fusion_multi_tdnn", ClipSpec(face=FaceSpec(size_px=64))
    network = build_tiny(name, seed=5, spec=spec)
    export_bundle(network, MODELS[name], spec, PROVENANCE, tmp_path / "net", ("onnx",))
    model = load(tmp_path / "net", threads=1)
    folder = write_browser(tmp_path / "page", MODELS[name], model)
    with run_site(folder) as site:
        visitor = Visitor(chromium, site.address)
        check_same(predict_on_page(visitor, downloads, clips.talk), model, clips.talk, 1e-3)


def turn_upright(path: Path) -> None:
    """Set the rotation in the track header: a quarter turn to the left."""
    data = path.read_bytes()
    upright, turned = (
        np.array(m, ">i4").tobytes()
        for m in ([65536, 0, 0, 0, 65536, 0], [0, -65536, 0, 65536, 0, 0])
    )
    at = data.index(upright, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(upright) :])


def write_mp3(path: Path, sound: np.ndarray) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "kind",
    ["vp9.webm", "fast.mp4", "large.mp4", "turned.mp4", "sound.wav", "sound.mp3"],
)
def test_other_codecs_make_no_difference(predict, model, clips, make, tmp_path, kind):
    """VP9 and Opus, two channels at 44.1 kHz, 50 pictures a second, 720 rows, an upright phone."""
    import cv2

    from keras_emo.media.reader import read_media

    media = read_media(clips.talk, frame_rate_hz=30, max_frames=120)
    frames, sound = [f.rgb for f in media.frames], media.waveform[: 4 * 48_000]
    clip = tmp_path / kind
    if kind == "vp9.webm":
        options = {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8"}
        codecs = {"codec": "libvpx-vp9", "audio_codec": "libopus"}
        make.video(clip, frames, sound=sound, **codecs, **options)
    elif kind == "fast.mp4":
        both = np.stack([sound, 0.5 * sound])[:, : 4 * 44_100]
        make.video(clip, frames, fps=50, sound=both, rate_hz=44_100)
    elif kind == "large.mp4":
        larger = [cv2.resize(f, (1280, 720), interpolation=cv2.INTER_LINEAR) for f in frames[:60]]
        make.video(clip, larger, sound=sound, preset="ultrafast")
    elif kind == "turned.mp4":
        lying = [np.ascontiguousarray(np.rot90(f, -1)) for f in frames[:60]]
        turn_upright(make.video(clip, lying, sound=sound))
    elif kind == "sound.wav":
        make.wav(clip, sound)
    else:
        write_mp3(clip, sound)
    result = predict(clip)
    assert kind.startswith("sound") or result["windows"][0]["face"] is not None
    check_same(result, model, clip)


def test_without_a_face_and_without_sound(predict, visitor, model, clips):
    check_same(predict(clips.faceless), model, clips.faceless)
    notices = visitor.find(".notices").text
    assert notices == "No face was found in this clip. The answer comes from the voice alone."
    assert "The voice alone comes across as" in visitor.find(".overall").text
    assert visitor.find(".moment tbody td").get_property("textContent") == "–not used"
    visitor.click("Another clip")
    visitor.wait(".zone")
    check_same(predict(clips.soundless), model, clips.soundless)
    notices = visitor.find(".notices").text
    assert notices == "This clip has no sound. The answer comes from the face alone."


def test_nothing_leaves_the_folder(predict, visitor, site, clips):
    n_before = len(site.requests)
    predict(clips.talk)
    requests = site.requests[n_before:]
    assert all(line.startswith("GET /") for line in requests)
    names = {line.split()[1].lstrip("/") for line in requests}
    known = {p.relative_to(site.folder).as_posix() for p in site.folder.rglob("*")}
    assert names <= known
    assert visitor.list_hosts() <= {site.address, "null"}
    # another port of this machine is another host to the browser
    script = "return fetch(arguments[0]).then(() => 'sent', (e) => e.name)"
    with run_site(site.folder) as other:
        assert visitor.driver.execute_script(script, f"{other.address}/") == "TypeError"
        assert other.requests == []
    visitor.driver.get_log("browser")  # holds the refusal


def test_the_page_works_after_a_failure_and_after_cancelling(visitor, clips):
    visitor.drop(clips.broken)
    assert visitor.wait("#failure").text == "This file cannot be read"
    visitor.choose(clips.talk)
    assert visitor.wait("#busy").text == "Reading face and voice"
    visitor.click("Cancel")
    visitor.wait(".zone")
    visitor.choose(clips.talk)
    visitor.wait("#overall")


def test_a_changed_file_is_refused(chromium, site, clips, tmp_path):
    folder = shutil.copytree(site.folder, tmp_path / "page")
    path = folder / "detector" / "rnet.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with run_site(folder) as changed:
        visitor = Visitor(chromium, changed.address)
        visitor.choose(clips.talk)
        assert visitor.wait("#failure").text == "This page is not complete"
        assert "rnet.onnx" in visitor.find(".failure").text


def test_a_browser_without_webcodecs(chromium, site, clips):
    command = "Page.addScriptToEvaluateOnNewDocument"
    number = chromium.execute_cdp_cmd(command, {"source": NO_WEBCODECS})["identifier"]
    try:
        visitor = Visitor(chromium, site.address)
        visitor.choose(clips.talk)
        assert visitor.wait("#failure").text == "This browser cannot read video here"
        assert "WebCodecs" in visitor.find(".failure").text
    finally:
        chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": number})
