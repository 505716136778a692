"""What the tests share: small recordings made on the spot, and a detector that answers as told.

The fixtures are builders, for the whole session, so that hypothesis may use them too.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from keras_emo.features.face import DetectedFace

settings.register_profile("shared", deadline=None)  # a busy machine is no defect
settings.register_profile("quick", deadline=None, max_examples=15)  # make check
settings.load_profile("shared")
# a shell's background job is deaf to Ctrl-C, and so is all it starts, unless it heeds it itself
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `pytest -n`, files that share a trained run or a browser stay in one process.

    Each other file is a group of its own: fixtures of a module are made once, as without -n.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    shared = {item.path: item.path.name for item in items}
    for item in items:
        if "trained" in getattr(item, "fixturenames", ()):
            shared[item.path] = "trained"
        elif item.path.parent.name == "browser":
            shared[item.path] = "browser"
    for item in items:
        item.add_marker(pytest.mark.xdist_group(shared[item.path]))


PCM = {"pcm_u8": "u8", "pcm_s16le": "s16", "pcm_s32le": "s32", "pcm_f32le": "flt"}


class StubDetector:
    """Finds in each next frame the faces of the next answer; the last answer repeats."""

    def __init__(self, *answers: Sequence[DetectedFace]):
        self.answers, self.frames = answers, []

    def detect(self, rgb: np.ndarray) -> Sequence[DetectedFace]:
        self.frames.append(rgb)
        return self.answers[min(len(self.frames), len(self.answers)) - 1]


def make_sine(
    seconds: float = 1.0, rate_hz: int = 48_000, hz: float = 440.0, level: float = 0.5
) -> np.ndarray:
    """Mono float32 sine."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def grey_frames(n: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame i is grey level 20 + 3 i throughout, see read_grey; at most 78 frames."""
    return [np.full((height, width, 3), 20 + 3 * i, np.uint8) for i in range(n)]


def read_grey(frame: np.ndarray) -> int:
    """The number of a frame of grey_frames after lossy coding."""
    return round((float(frame.mean()) - 20) / 3)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    fps: float = 30,
    times_s: Sequence[float] | None = None,
    sound: np.ndarray | None = None,
    rate_hz: int = 48_000,
    codec: str = "libx264",
    audio_codec: str = "aac",
    **options: str,
) -> Path:
    """RGB uint8 frames, at fps or at times_s, with mono or (channels, n) float sound."""
    import av

    with av.open(str(path), "w") as container:
        step = Fraction(1, 1000) if times_s is not None else 1 / Fraction(fps).limit_denominator()
        video = container.add_stream(codec, rate=Fraction(fps).limit_denominator())
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = step
        video.options = {"crf": "12", "preset": "fast", **options} if "264" in codec else options
        audio = None
        if sound is not None:
            layout = "stereo" if sound.ndim == 2 else "mono"
            audio = container.add_stream(audio_codec, rate=rate_hz, layout=layout)
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.time_base = step
            frame.pts = i if times_s is None else round(times_s[i] * 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            block = np.ascontiguousarray(np.atleast_2d(sound), np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def write_wav(
    path: Path, samples: np.ndarray, rate_hz: int = 48_000, codec: str = "pcm_s16le"
) -> Path:
    """Float samples (n,) or (channels, n) as PCM of one of the kinds in PCM."""
    import av

    samples = np.atleast_2d(samples)
    flat = np.ascontiguousarray(samples.T).reshape(1, -1)
    if codec == "pcm_u8":
        data = np.clip(np.round(flat * 128 + 128), 0, 255).astype(np.uint8)
    elif codec == "pcm_f32le":
        data = flat.astype(np.float32)
    else:
        kind = np.int16 if codec == "pcm_s16le" else np.int32
        scale = float(np.iinfo(kind).max + 1)
        data = np.clip(np.round(flat * scale), -scale, scale - 1).astype(kind)
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        if data.size:
            frame = av.AudioFrame.from_ndarray(data, format=PCM[codec], layout=layout)
            frame.sample_rate, frame.pts = rate_hz, 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def install_example(folder: Path, group: str, name: str) -> Path:
    """examples/NAME.py in a folder for sys.path, as pip would install it with an entry point."""
    example = Path(__file__).resolve().parents[1] / "examples" / f"{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / example.name).write_bytes(example.read_bytes())
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")
    return folder


class Builders:
    """Everything above under one name."""

    face = DetectedFace
    detector = StubDetector
    sine = staticmethod(make_sine)
    grey_frames = staticmethod(grey_frames)
    read_grey = staticmethod(read_grey)
    video = staticmethod(write_video)
    wav = staticmethod(write_wav)
    example = staticmethod(install_example)


@pytest.fixture(scope="session")
def make() -> Builders:
    return Builders()


@pytest.fixture(scope="session")
def clip(make, tmp_path_factory) -> Path:
    """Two seconds at 30 fps and a last frame at 2 s, with B-frames, and a sine; to be read only."""
    folder = tmp_path_factory.mktemp("media")
    return make.video(folder / "clip.mp4", make.grey_frames(61), sound=make.sine(2.0), bf="2")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A clip of the built-in corpus, three seconds or so, with face and voice; to be read only."""
    from keras_emo.demo_corpus import BuiltinSpec, list_clips
    from keras_emo.demo_corpus.corpus import write_clip

    root, spec = tmp_path_factory.mktemp("drawn"), BuiltinSpec()
    clip = list_clips(spec)[0]
    write_clip(root, clip, spec)
    return root / clip


@pytest.fixture
def box(make, monkeypatch):
    """Every frame holds one face; the networks have a digest of their own."""
    from keras_emo.data import cache

    class Stub(make.detector):
        def __init__(self, folder=None, spec=None, threads=1):
            super().__init__([make.face((10, 10, 20, 20))])

        @staticmethod
        def weights_digest(folder=None):
            return "stub"

    monkeypatch.setattr(cache, "FaceDetector", Stub)
    monkeypatch.setattr(cache, "_detectors", {})
    return Stub
