"""Specs from values that somebody else wrote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
NAMES = [(part, name) for part, data in ClipSpec().to_dict().items() for name in data]


def check_usable(data) -> None:
    """Refused as from_dict says, or a spec that is stored as it is."""
    try:
        spec = ClipSpec.from_dict(data)
    except (TypeError, ValueError, KeyError):
        return
    again = ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert again == spec
    assert again.digest() == spec.digest()
    sizes = (*spec.face.shape, *spec.audio.shape, spec.face.max_frames, spec.face.decode_max_px)
    assert all(type(n) is int for n in sizes)


@given(values)
def test_anything_is_a_spec_or_refused(data):
    check_usable(data)


@given(st.lists(st.tuples(st.sampled_from(NAMES), scalars), min_size=1, max_size=3))
def test_any_settings_make_a_spec_or_are_refused(changes):
    data = ClipSpec().to_dict()
    for (part, name), value in changes:
        data[part][name] = value
    check_usable(data)


@pytest.mark.parametrize("top_db", [float("inf"), float("nan"), 0])
def test_what_json_cannot_hold_is_out_of_range(top_db):
    with pytest.raises(ValueError, match="audio spec out of range"):
        AudioSpec(top_db=top_db)


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_too_large_for_a_float_is_out_of_range(value):
    with pytest.raises(ValueError, match="out of range"):
        FaceSpec(margin=value)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (FaceSpec, {"size_px": 64.5}),
        (FaceSpec, {"size_px": True}),
        (FaceSpec, {"max_frames": float("inf")}),
        (FaceSpec, {"frame_rate_hz": "3"}),
        (FaceSpec, {"frame_rate_hz": True}),
        (FaceSpec, {"decode_max_px": None}),
        (FaceSpec, {"decode_max_px": ""}),
        (FaceSpec, {"speaker": ["largest"]}),
        (AudioSpec, {"n_mfcc": 20.0}),
        (AudioSpec, {"sample_rate_hz": 48_000.0}),
    ],
)
def test_settings_of_another_type(cls, settings):
    with pytest.raises(TypeError, match="is not of type"):
        cls(**settings)
