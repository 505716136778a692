"""Files and pictures that are read or refused, and the frames handed from thread to thread."""

import os
import struct
import threading
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_emo.errors import ClipError, Reason
from keras_emo.media import reader as reader_module
from keras_emo.media.reader import (
    ClipSource,
    check_file,
    read_image,
    read_images,
    read_media,
    read_size,
    relay_frames,
)
from keras_emo.media.recording import Frame, Media
from keras_emo.media.sound import resample

from .refusals import refused


def test_files_that_are_no_recordings(clip, tmp_path):
    rng = np.random.default_rng(0)
    contents = {
        Reason.EMPTY_FILE: b"",
        Reason.NOT_MEDIA: rng.integers(0, 256, 50_000, dtype=np.uint8).tobytes(),
        Reason.FORMAT_NOT_ALLOWED: b"ffconcat version 1.0\nfile inner.mp4\n",
    }
    (tmp_path / "inner.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:2,\ninner.mp4\n#EXT-X-ENDLIST\n")
    refused(tmp_path / "list.mp4", Reason.FORMAT_NOT_ALLOWED)
    for reason, content in contents.items():
        for suffix in ("mp4", "avi", "wav", "mp3"):
            path = tmp_path / f"{reason}.{suffix}"
            path.write_bytes(content)
            refused(path, reason)


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "fifo")
    assert refused(tmp_path / "gone", Reason.NOT_FOUND).cause == "no such file"
    assert "link" in refused(tmp_path / "link", Reason.NOT_FOUND).cause
    assert refused(tmp_path, Reason.NOT_REGULAR_FILE).cause == "a folder"
    assert "regular" in refused(tmp_path / "fifo", Reason.NOT_REGULAR_FILE).cause
    refused(tmp_path / "loop", Reason.UNREADABLE)
    refused(tmp_path / "file" / "below", Reason.UNREADABLE)


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "Ärger 愤怒😀.mp4", "-y.mp4", "-x", "%03d.mp4", "a:b#c?.mp4", "http:x.mp4",
     "file:x.mp4", "a\nb.mp4"],
)  # fmt: skip
def test_odd_names(name, clip, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read_media(Path(name)).frames) == 7
    assert check_file(Path(name)) == tmp_path / name
    (tmp_path / "link").symlink_to(name)
    assert len(read_media(Path("link")).frames) == 7


@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(44_100, 48_000), (16_000, 48_000), (48_000, 16_000)]
)
def test_resample_keeps_pitch_and_length(from_hz, to_hz, make):
    sound = resample(make.sine(1.0, from_hz, 1000.0), from_hz, to_hz)
    assert (sound.dtype, len(sound)) == (np.float32, to_hz)
    np.testing.assert_allclose(sound[500:-500], make.sine(1.0, to_hz, 1000.0)[500:-500], atol=2e-3)


def test_pictures(tmp_path):
    paths = tuple(tmp_path / name for name in ("10.png", "ü %d.png", "a.jpg"))
    for i, path in enumerate(paths):
        bgr = np.zeros((20 + i, 30, 3), np.uint8)
        bgr[..., 2] = 200  # red
        path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())
    media = read_images(paths, 4.0)
    assert [f.rgb.shape for f in media.frames] == [(20, 30, 3), (21, 30, 3), (22, 30, 3)]
    assert all(f.rgb[5, 5, 0] > 190 and f.rgb[5, 5, 2] < 10 for f in media.frames)
    assert [f.time_s for f in media.frames] == [0, 0.25, 0.5]
    assert (media.duration_s, media.streams.has_video) == (0.75, True)
    refused(tmp_path / "gone.png", Reason.NOT_FOUND, read_image)


def test_source_names_its_files():
    a, b, c = (Path(n) for n in "abc")
    assert ClipSource(video=a, audio=b).files == (a, b)
    assert ClipSource(audio=b, frames=(a, c)).files == (b, a, c)
    assert ClipSource(frames=(c, a)).path == c


# any bytes

patches = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1)
few = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOST_FRAMES, MOST_S = 4, 1.0


@pytest.fixture(scope="module")
def clips(make, tmp_path_factory):
    """Contents of small recordings by suffix."""
    folder = tmp_path_factory.mktemp("clips")
    sound = make.sine(0.3)
    for suffix in (".mp4", ".mkv", ".avi"):
        make.video(folder / f"a{suffix}", make.grey_frames(6), sound=sound)
    make.wav(folder / "a.wav", sound)
    return {p.suffix: p.read_bytes() for p in folder.iterdir()}


def patch(data: bytes, changes, n_bytes: int) -> bytes:
    """Bytes written over data, anywhere in its first n_bytes."""
    changed = bytearray(data)
    for at, piece in changes:
        start = round(at * n_bytes)
        changed[start : start + len(piece)] = piece
    return bytes(changed)


@few
@given(
    suffix=st.sampled_from([".mp4", ".mkv", ".avi", ".wav"]),
    changes=patches,
    alone=st.binary(max_size=200),
)
def test_any_bytes(suffix, changes, alone, clips, tmp_path):
    """Changed anywhere, a WAV in its header; or nothing but a few bytes."""
    path, data = tmp_path / f"a{suffix}", clips[suffix]
    n_bytes = 80 if suffix == ".wav" else len(data)
    path.write_bytes(alone or patch(data, changes, n_bytes))
    try:
        media = read_media(path, 3.0, MOST_FRAMES, MOST_S)
    except ClipError:
        return
    assert len(media.frames) <= MOST_FRAMES
    times_s = [f.time_s for f in media.frames]
    assert np.isfinite([*times_s, media.duration_s, media.missing_s]).all()
    if media.waveform is not None:
        assert media.waveform.dtype == np.float32
        assert len(media.waveform) <= MOST_S * media.sample_rate_hz + 1


@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([".png", ".jpg"]))
def test_size_before_decoding(width, height, suffix):
    data = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))[1].tobytes()
    assert read_size(data) == (width, height)


@few
@given(changes=patches, suffix=st.sampled_from([".png", ".jpg"]))
def test_picture_with_any_bytes(changes, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    data = cv2.imencode(suffix, np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))[1].tobytes()
    path.write_bytes(patch(data, changes, len(data)))
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(reader_module, "MAX_PICTURE_PIXELS", 1 << 16)  # larger ones are slow
        try:
            picture = read_image(path)
        except ClipError:
            return
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)


def chunk(kind: bytes, content: bytes, declared: int | None = None) -> bytes:
    """A part of a PNG, which may declare another length than it has."""
    length = len(content) if declared is None else declared
    return (
        struct.pack(">I", length) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(*chunks: bytes, width: int = 32, height: int = 32) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(chunk(b"IDAT", b"x", declared=0x49444154)), Reason.NOT_MEDIA),  # 1.2 GB reserved
        (png(chunk(b"IEND", b"", declared=0xFC000000)), Reason.NOT_MEDIA),
        (png(chunk(b"IDAT", b"x"), width=30_000, height=30_000), Reason.RESOLUTION_LIMIT),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff" + bytes(20), Reason.RESOLUTION_LIMIT),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), Reason.NOT_MEDIA),
    ],
)
def test_pictures_that_would_take_much_memory(data, reason, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)  # is not reached
    with pytest.raises(ClipError) as caught:
        read_image(path)
    assert caught.value.reason is reason


# from thread to thread


def reader(n: int, log: list | None = None, error: Exception | None = None):
    """Reads n frames whose number is their grey level, then raises error if there is one."""

    def read(on_frame) -> Media:
        for i in range(n):
            if log is not None:
                log.append(i)
            on_frame(Frame(np.full((2, 2, 3), i, np.uint8), i / 10))
        if error is not None:
            raise error
        return Media(duration_s=n / 10)

    return read


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_order_and_result():
    relayed = []
    media = relay_frames(reader(40), lambda f: relayed.append((int(f.rgb[0, 0, 0]), f.time_s)))
    assert relayed == [(i, i / 10) for i in range(40)]
    assert (media.duration_s, relay_frames(reader(0), relayed.append).duration_s) == (4, 0)


def test_few_frames_are_held():
    read, ahead = [], []

    def on_frame(frame) -> None:
        time.sleep(0.01)
        ahead.append(len(read) - len(ahead) - 1)

    relay_frames(reader(20, read), on_frame)
    assert len(read) == 20
    assert max(ahead) <= 4


def test_errors_of_reading_come_after_the_frames_before_them():
    relayed, error = [], ClipError("a.mp4", Reason.DURATION_LIMIT, "too long")
    with pytest.raises(ClipError) as caught:
        relay_frames(reader(5, error=error), lambda frame: relayed.append(frame.time_s))
    assert caught.value is error
    assert len(relayed) == 5


@pytest.mark.parametrize("failure", [ValueError("bad frame"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 3, 99])
def test_errors_of_looking_stop_the_reading(failure, at):
    read, n_seen = [], 0

    def on_frame(frame) -> None:
        nonlocal n_seen
        n_seen += 1
        if frame.time_s == at / 10:
            raise failure

    with pytest.raises(type(failure)) as caught:
        relay_frames(reader(100, read), on_frame)
    assert caught.value is failure
    assert n_seen == at + 1
    assert len(read) <= at + 5
