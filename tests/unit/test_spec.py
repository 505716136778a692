import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.spec import POSITIVE, AudioSpec, ClipSpec, FaceSpec, Range


def test_digest_does_not_drift():
    assert ClipSpec().digest() == "82d5caa5af4aab7e"


CHANGED = {
    "frame_rate_hz": 5.0, "size_px": 96, "margin": 0.1, "min_face_px": 60, "min_confidence": 0.8,
    "detect_max_px": 320, "max_frames": 10, "max_gap_s": 0.5, "min_coverage": 0.2,
    "detect_every": 2, "speaker": "central", "decode_max_px": 1920, "sample_rate_hz": 44_100,
    "duration_s": 2.0, "n_fft": 1024, "hop_length": 256, "n_mels": 64, "fmin_hz": 20.0,
    "fmax_hz": 7000.0, "n_mfcc": 13, "top_db": 60.0, "silence_dbfs": -60.0,
}  # fmt: skip


def test_digest_changes_with_any_setting():
    spec, digests = ClipSpec(), {ClipSpec().digest()}
    settings = [(part, f.name) for part in ("face", "audio") for f in fields(getattr(spec, part))]
    for part, name in settings:
        changed = replace(spec, **{part: replace(getattr(spec, part), **{name: CHANGED[name]})})
        again = ClipSpec.from_dict(json.loads(json.dumps(changed.to_dict())))
        assert (again, again.digest()) == (changed, changed.digest())
        digests.add(changed.digest())
    assert len(digests) == 1 + len(settings) == 1 + len(CHANGED)


def test_equal_specs_have_equal_digests():
    """3 and 3.0 are the same rate: in TOML either is likely."""
    assert ClipSpec(FaceSpec(frame_rate_hz=3)) == ClipSpec()
    assert ClipSpec(FaceSpec(frame_rate_hz=3)).digest() == ClipSpec().digest()


OLD_FACE = {
    "frame_rate_hz": 3.0, "size_px": 224, "margin": 0.0, "min_face_px": 40, "min_confidence": 0.9,
    "detect_max_px": 640, "max_frames": 96, "max_gap_s": 1.0, "min_coverage": 0.1,
}  # fmt: skip


def test_stored_specs_without_later_settings_mean_what_was_done_then():
    old = {"face": OLD_FACE, "audio": ClipSpec().to_dict()["audio"]}
    spec = ClipSpec.from_dict(old)
    assert (spec.face.detect_every, spec.face.speaker, spec.face.decode_max_px) == (1, "largest", 0)
    assert spec != ClipSpec()
    assert spec.to_dict() == old
    assert spec.digest() == "8246ff34a1622a71"  # a cache of then is found again
    assert ClipSpec().to_dict()["face"] == {**OLD_FACE, "detect_every": 6, "decode_max_px": 1280}


def test_default_shapes():
    assert (AudioSpec().n_samples, AudioSpec().shape) == (144_000, (20, 282))
    assert FaceSpec().shape == (224, 224, 3)


FACE_OUTSIDE = {
    "frame_rate_hz": [0, -3.0, float("nan"), 241],
    "size_px": [15, 1025],
    "margin": [-0.41, 1.1, float("nan"), 10**400, -(10**400)],
    "min_face_px": [19],
    "max_frames": [0],
    "max_gap_s": [-0.1, float("nan")],
    "min_coverage": [-0.1, 1.1],
    "detect_every": [0, 1001],
    "speaker": ["loudest"],
    "decode_max_px": [639, -1],  # below detect_max_px
}
AUDIO_OUTSIDE = {
    "sample_rate_hz": [999, 500_000, 8000],  # 8000: below twice fmax_hz
    "duration_s": [0, -1, 601, float("nan")],
    "fmin_hz": [-1, 8000.0],
    "fmax_hz": [24_001.0],
    "n_fft": [2047],
    "n_mfcc": [0, 129],
    "hop_length": [0, 2049],
    "top_db": [float("inf"), float("nan"), 0],
}


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [(FaceSpec, name, v) for name, values in FACE_OUTSIDE.items() for v in values]
    + [(AudioSpec, name, v) for name, values in AUDIO_OUTSIDE.items() for v in values],
)
def test_settings_out_of_range(cls, name, value):
    with pytest.raises(ValueError, match="out of range"):
        cls(**{name: value})


@pytest.mark.parametrize("part", ["face", "audio"])
def test_unknown_and_missing_keys(part):
    data = ClipSpec().to_dict()
    with pytest.raises(TypeError, match="more"):
        ClipSpec.from_dict({**data, part: {**data[part], "more": 1}})
    with pytest.raises(KeyError, match=part):
        ClipSpec.from_dict({k: v for k, v in data.items() if k != part})


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (Range(0, 1), [0, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(0, 1, below=True), [0, 0.999], [1, -1], "from 0 to below 1"),
        (Range(0, 1, above=True), [0.001, 1], [0, 1.001], "above 0 to 1"),
        (Range(3), [3, 1e300], [2, math.inf], "at least 3"),
        (Range(10**400), [10**400], [10**400 - 1, 1e300], f"at least {10**400}"),
        (POSITIVE, [1e-9], [0, -1, math.inf], "above 0"),
    ],
)
def test_range(allowed, inside, outside, text):
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in [*outside, math.nan])
    assert str(allowed) == text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
NAMES = [(part, name) for part, data in ClipSpec().to_dict().items() for name in data]


@given(st.lists(st.tuples(st.sampled_from(NAMES), scalars), min_size=1, max_size=3))
def test_any_settings_make_a_spec_or_are_refused(changes):
    data = ClipSpec().to_dict()
    for (part, name), value in changes:
        data[part][name] = value
    try:
        spec = ClipSpec.from_dict(data)
    except (TypeError, ValueError):
        return
    again = ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert (again, again.digest()) == (spec, spec.digest())
    sizes = (*spec.face.shape, *spec.audio.shape, spec.face.max_frames, spec.face.decode_max_px)
    assert all(type(n) is int for n in sizes)


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (FaceSpec, "size_px", 64.5), (FaceSpec, "size_px", True), (FaceSpec, "frame_rate_hz", "3"),
        (FaceSpec, "max_frames", math.inf), (FaceSpec, "frame_rate_hz", True),
        (FaceSpec, "decode_max_px", None), (FaceSpec, "speaker", ["largest"]),
        (AudioSpec, "n_mfcc", 20.0),
    ],
)  # fmt: skip
def test_settings_of_another_type(cls, name, value):
    with pytest.raises(TypeError, match="is not of type"):
        cls(**{name: value})
