"""Prepared clips read from the cache row by row."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_emo.data.clips import Clips, locate_arrays, open_clip, open_clips, open_variants
from keras_emo.data.corpus import Sample
from keras_emo.errors import ClipError, Reason
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=32), audio=AudioSpec(duration_s=0.5, n_mels=16, n_mfcc=16))
COUNTS = (3, 0, 1, 5, 2)  # crops of each clip
SILENT = 3  # the clip without sound


def write_clip(path: Path, n_crops: int, voice: bool = True, level: int = 0) -> Path:
    rng = np.random.default_rng(level)
    info = {"duration_s": 1.0, "frames_examined": 3, "states": [], "warnings": []}
    arrays = {
        "face_found": np.ones(n_crops, bool),
        "times_s": np.arange(n_crops, dtype=np.float32),
        "boxes": np.zeros((n_crops, 4), np.float32),
        "info": np.array(json.dumps(info)),
    }
    if n_crops:
        arrays["face"] = rng.integers(0, 256, (n_crops, *SPEC.face.shape), np.uint8)
    if voice:
        arrays["mfcc"] = rng.normal(size=SPEC.audio.shape).astype(np.float32)
    np.savez(path, **arrays)
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    return {
        str(i): write_clip(tmp_path / f"{i}.npz", n, i != SILENT, i) for i, n in enumerate(COUNTS)
    }


@pytest.fixture
def clips(files) -> Clips:
    return open_clips(samples(), files, SPEC)


def samples() -> list[Sample]:
    """One more than there are files: its preparation failed."""
    return [
        Sample(str(i), "builtin", "builtin/01", "male", EMOTIONS[i], ClipSource())
        for i in range(len(COUNTS) + 1)
    ]


def faces_of(files: dict[str, Path]) -> np.ndarray:
    return np.concatenate([np.load(p)["face"] for p in files.values() if "face" in np.load(p)])


def test_clips_side_by_side(clips, files):
    assert [s.sample_id for s in clips.samples] == ["0", "1", "2", "3", "4"]
    assert clips.count.tolist() == list(COUNTS)
    assert clips.first.tolist() == [0, 3, 3, 4, 9]
    assert clips.has_face.tolist() == [True, False, True, True, True]
    assert clips.has_voice.tolist() == [True, True, True, False, True]
    assert clips.crop_labels.tolist() == [0, 0, 0, 2, 3, 3, 3, 3, 3, 4, 4]
    np.testing.assert_array_equal(clips.faces[:], faces_of(files))
    assert not clips.mfcc[np.array([SILENT])].any()
    np.testing.assert_array_equal(clips.mfcc[np.array([4, 0])][1], np.load(files["0"])["mfcc"])
    assert clips.sample_voices().shape == (4, *SPEC.audio.shape)
    assert clips.sample_voices(2).shape == (2, *SPEC.audio.shape)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.lists(st.integers(0, 10), max_size=20).map(lambda rows: np.array(rows, np.int64)),
    st.builds(slice, st.none() | st.integers(-12, 12), st.none() | st.integers(-12, 12),
              st.sampled_from((None, 1, 2, -1))),
))  # fmt: skip
def test_rows_are_those_of_the_array(clips, files, index):
    read = clips.faces[index]
    assert (read.dtype, read.shape[1:]) == (np.uint8, SPEC.face.shape)
    np.testing.assert_array_equal(read, faces_of(files)[index])


@pytest.mark.parametrize("row", [-1, 11])
def test_rows_outside_are_refused(clips, row):
    with pytest.raises(IndexError):
        clips.faces[np.array([0, row])]


def test_a_clip_alone(files):
    stored = open_clip(files["1"], SPEC)
    assert (stored.n_crops, stored.modalities) == (0, ("voice",)) == (0, stored.load().modalities)
    assert open_clip(files[str(SILENT)], SPEC).modalities == ("face",)
    with pytest.raises(ClipError, match=r"face is \(3, 32, 32, 3\), not \(3, 48, 48, 3\)"):
        open_clip(files["0"], ClipSpec(face=FaceSpec(size_px=48), audio=SPEC.audio))


def test_augmented_versions_and_the_clip_itself(clips, files, tmp_path):
    augmented = np.random.default_rng(9).normal(size=(2, *SPEC.audio.shape)).astype(np.float32)
    np.savez(tmp_path / "v.npz", mfcc=augmented)
    own = clips.mfcc[:]
    index = np.array([2, 2, 2, 0])
    np.testing.assert_array_equal(clips.read_voices(index, np.zeros(4, int)), own[index])
    open_variants(clips, {"2": tmp_path / "v.npz"}, 2)
    read = clips.read_voices(index, np.array([0, 1, 2, 1]))
    np.testing.assert_array_equal(read, [augmented[0], augmented[1], own[2], own[0]])
    with pytest.raises(ClipError, match=r"mfcc is \(2, .*, not \(3, "):
        open_variants(clips, {"2": tmp_path / "v.npz"}, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sound_that_is_not_finite_is_refused(files, value):
    arrays = dict(np.load(files["0"]))
    arrays["mfcc"][3, 4] = value
    np.savez(files["0"], **arrays)
    with pytest.raises(ClipError, match="NaN or infinity") as caught:
        open_clips(samples(), files, SPEC)
    assert (caught.value.path, caught.value.reason) == (str(files["0"]), Reason.UNREADABLE)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [flip, lambda p: os.truncate(p, 900), Path.unlink])
def test_damage_is_found_when_clips_are_opened(files, harm):
    harm(files["2"])
    with pytest.raises(ClipError) as caught:
        open_clips(samples(), files, SPEC)
    assert (caught.value.path, caught.value.reason) == (str(files["2"]), Reason.UNREADABLE)
    if harm is flip:
        assert "delete it and run again" in caught.value.cause


@pytest.mark.parametrize("harm", [lambda p: os.truncate(p, 900), Path.unlink])
def test_a_file_that_is_lost_while_it_is_read_is_named(clips, files, harm):
    harm(files["3"])
    with pytest.raises(ClipError) as caught:
        clips.faces[np.array([0, 8])]
    assert caught.value.path == str(files["3"])
    assert clips.failure is caught.value


def test_compressed_files_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", mfcc=np.zeros(9))
    with pytest.raises(ValueError, match="compressed"):
        locate_arrays(tmp_path / "a.npz")
