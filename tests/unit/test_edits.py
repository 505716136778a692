"""Which mp4 are read without their edit lists, and that it makes no difference."""

from pathlib import Path

import numpy as np
import pytest

from keras_emo.errors import ClipError, Reason
from keras_emo.media import edits
from keras_emo.media import reader as media
from keras_emo.media.reader import read_media


@pytest.fixture(autouse=True)
def small_indexes_count(monkeypatch):
    monkeypatch.setattr(edits, "MIN_INDEX_BYTES", 0)


@pytest.fixture(scope="module")
def clip(make, tmp_path_factory) -> Path:
    """Two seconds with B-frames, so that the picture's edit begins late, and a sine."""
    path = tmp_path_factory.mktemp("edits") / "clip.mp4"
    return make.video(path, make.grey_frames(60), sound=make.sine(2.0), bf="2")


def change(clip: Path, to: Path, name: bytes, at: int, value: bytes) -> Path:
    """The clip with other bytes in each box of this name, at that byte of its content."""
    data, place = bytearray(clip.read_bytes()), 0
    while (place := data.find(name, place)) >= 0:
        place += 4
        data[place + at : place + at + len(value)] = value
    to.write_bytes(data)
    return to


def test_reads_the_same(clip, monkeypatch):
    assert edits.shows_all(clip)
    plain = read_media(clip)
    monkeypatch.setattr(edits, "MIN_INDEX_BYTES", 1 << 20)
    assert not edits.shows_all(clip)
    usual = read_media(clip)
    assert plain.times_s == usual.times_s
    for a, b in zip(plain.frames, usual.frames, strict=True):
        np.testing.assert_array_equal(a, b)
    n = min(len(plain.waveform), len(usual.waveform))  # the codec's padding at the end may stay
    assert abs(len(plain.waveform) - len(usual.waveform)) <= 1024
    np.testing.assert_array_equal(plain.waveform[:n], usual.waveform[:n])
    assert plain.missing_s == usual.missing_s == 0


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        (b"elst", 4, (2).to_bytes(4)),  # edits
        (b"elst", 8, (1000).to_bytes(4)),  # length: half of the clip
        (b"elst", 12, (1 << 24).to_bytes(4)),  # start
        (b"elst", 12, b"\xff" * 4),  # a pause
        (b"elst", 16, (1 << 15).to_bytes(4)),  # half as fast
        (b"mdhd", 12, bytes(4)),  # no clock
        (b"mvhd", -4, b"free"),
        (b"mdia", -4, b"free"),
    ],
)
def test_other_edits_are_kept(clip, tmp_path, name, at, value):
    changed = change(clip, tmp_path / "changed.mp4", name, at, value)
    assert not edits.shows_all(changed)


def test_boxes_that_are_no_edits(clip, make, tmp_path):
    unedited = change(clip, tmp_path / "unedited.mp4", b"edts", -4, b"free")
    assert edits.shows_all(unedited)
    none = change(clip, tmp_path / "none.mp4", b"elst", 4, bytes(4))
    assert edits.shows_all(none)
    twice = tmp_path / "twice.mp4"  # FFmpeg takes the first
    index = clip.read_bytes()[clip.read_bytes().find(b"moov") - 4 :]
    edited = change(clip, tmp_path / "edited.mp4", b"elst", 4, (2).to_bytes(4))
    twice.write_bytes(edited.read_bytes() + index)
    assert not edits.shows_all(twice)
    others = tmp_path / "others.mp4"
    for data in (b"", b"RIFF", bytes(100), clip.read_bytes()[:-200], b"\0\0\0\x01moov" * 3):
        others.write_bytes(data)
        assert not edits.shows_all(others)


def box(name: bytes, *content: bytes, wide: bool = False) -> bytes:
    data = b"".join(content)
    if wide:
        return (1).to_bytes(4) + name + (len(data) + 16).to_bytes(8) + data
    return (len(data) + 8).to_bytes(4) + name + data


@pytest.mark.parametrize(("shown_s", "start_s", "all_"), [(9.9, 0.1, True), (8, 0.1, False)])
def test_numbers_of_64_bits(tmp_path, shown_s, start_s, all_):
    clock = b"\1\0\0\0" + bytes(16)
    edit = [round(shown_s * 1000).to_bytes(8), round(start_s * 48000).to_bytes(8)]
    elst = box(b"elst", b"\1\0\0\0", (1).to_bytes(4), *edit, b"\0\1\0\0")
    mdhd = box(b"mdhd", clock, (48000).to_bytes(4), (480_000).to_bytes(8))
    mvhd = box(b"mvhd", clock, (1000).to_bytes(4), (10_000).to_bytes(8))
    track = box(b"trak", box(b"edts", elst), box(b"mdia", mdhd, wide=True))
    path = tmp_path / "wide.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", mvhd, track, wide=True))
    assert edits.shows_all(path) is all_


def test_a_disk_that_fails_is_one_line(clip, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(media, "shows_all", fail)
    with pytest.raises(ClipError, match="Input/output error") as caught:
        read_media(clip)
    assert caught.value.reason is Reason.UNREADABLE


def test_millions_of_boxes_take_no_time(clip, tmp_path, monkeypatch):
    flood = tmp_path / "flood.mp4"
    data = clip.read_bytes()
    flood.write_bytes(data[:32] + (b"\0\0\0\x08free" * 2_000_000) + data[32:])
    reads = []
    walk = edits._walk_boxes
    monkeypatch.setattr(
        edits, "_walk_boxes", lambda *a: (reads.append(1) or box for box in walk(*a))
    )
    assert not edits.shows_all(flood)
    assert len(reads) <= edits.MAX_BOXES + 1
