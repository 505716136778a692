"""Recordings and pictures with any bytes in them: what could be read, or ClipError."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_emo.errors import ClipError, Reason
from keras_emo.media import reader as media_module
from keras_emo.media.picture import read_size
from keras_emo.media.reader import read_image, read_media

patches = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1)
few = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def read_any(path) -> None:
    try:
        media = read_media(path, 3.0, MOST_FRAMES, MOST_S)
    except ClipError as e:
        refusal = e
    else:
        assert len(media.frames) <= MOST_FRAMES
        times_s = [f.time_s for f in media.frames]
        assert np.isfinite([*times_s, media.duration_s, media.missing_s]).all()
        if media.waveform is not None:
            assert media.waveform.dtype == np.float32
            assert len(media.waveform) <= MOST_S * media.sample_rate_hz + 1
        return
    assert refusal.cause


@few
@given(changes=patches)
def test_wav_with_any_header(changes, clips, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(patch(clips[".wav"], changes, 80))
    read_any(path)


@few
@given(changes=patches, suffix=st.sampled_from([".mp4", ".mkv", ".avi"]))
def test_video_with_any_bytes(changes, suffix, clips, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(patch(clips[suffix], changes, len(clips[suffix])))
    read_any(path)


@few
@given(data=st.binary(min_size=1, max_size=200), suffix=st.sampled_from([".mp4", ".wav", ".mkv"]))
def test_any_bytes(data, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    read_any(path)


# pictures


@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([".png", ".jpg"]))
def test_size_before_decoding(width, height, suffix):
    data = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))[1].tobytes()
    assert read_size(data) == (width, height)


@given(st.binary(max_size=100), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]))
def test_size_of_any_bytes(data, head):
    size = read_size(head + data)
    assert size is None or min(size) >= 0


@few
@given(changes=patches, suffix=st.sampled_from([".png", ".jpg"]))
def test_picture_with_any_bytes(changes, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    data = cv2.imencode(suffix, np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))[1].tobytes()
    path.write_bytes(patch(data, changes, len(data)))
    with pytest.MonkeyPatch.context() as limits:
        limits.setattr(media_module, "MAX_PICTURE_PIXELS", 1 << 16)  # larger ones take their time
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
