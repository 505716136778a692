import numpy as np
import pytest

from keras_emo import load
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import can_predict, collate_clips, predict_clips, softmax
from keras_emo.labels import N_EMOTIONS
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

SPEC = ClipSpec(
    FaceSpec(size_px=16), AudioSpec(sample_rate_hz=16_000, duration_s=0.2, n_mfcc=5, n_mels=20)
)
BOTH = ("face", "face_mask", "mfcc", "mfcc_mask")


def clip(n_frames: int, voice: bool = True, found: list[int] | None = None, seed=0) -> ClipInputs:
    """Crop i of a clip is grey level 10 + i; its sound is noise."""
    levels = np.arange(10, 10 + n_frames, dtype=np.uint8)
    face = np.broadcast_to(levels[:, None, None, None], (n_frames, *SPEC.face.shape))
    rng = np.random.default_rng((seed, n_frames))
    return ClipInputs(
        face=face if n_frames else None,
        face_found=np.isin(np.arange(n_frames), range(n_frames) if found is None else found),
        times_s=np.arange(n_frames) / 3,
        boxes=np.zeros((n_frames, 4), np.float32),
        mfcc=rng.normal(size=SPEC.audio.shape).astype(np.float32) if voice else None,
        duration_s=1.0,
        frames_examined=n_frames,
    )


def levels(face: np.ndarray) -> list:
    assert face.dtype == np.float32
    assert np.ptp(face, axis=(-3, -2, -1)).max() == 0
    return face[..., 0, 0, 0].tolist()


def test_each_crop_is_a_row():
    feed = collate_clips([clip(2), clip(1), clip(3, voice=False)], ("face",), "each", SPEC)
    assert levels(feed["face"]) == [10, 11, 10, 10, 11, 12]
    assert feed["face"].shape == (6, 16, 16, 3)


def test_one_crop_with_masks():
    """The middle one of those with a face, of an even number the later one."""
    clips = [clip(5, found=[0, 3, 4]), clip(0), clip(4, voice=False, found=[0, 2])]
    feed = collate_clips(clips, BOTH, "one", SPEC)
    assert list(feed) == list(BOTH)
    assert levels(feed["face"]) == [13, 0, 12]
    assert feed["face_mask"].tolist() == [[1], [0], [1]]
    assert feed["mfcc_mask"].tolist() == [[1], [1], [0]]
    np.testing.assert_array_equal(feed["mfcc"], [clips[0].mfcc, clips[1].mfcc, feed["mfcc"][2] * 0])


def test_all_crops_are_padded_to_the_longest():
    feed = collate_clips([clip(2), clip(0), clip(3, voice=False)], BOTH, "all", SPEC)
    assert feed["face"].shape == (3, 3, 16, 16, 3)
    assert levels(feed["face"]) == [[10, 11, 0], [0, 0, 0], [10, 11, 12]]
    assert feed["face_mask"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert feed["mfcc_mask"].tolist() == [[1], [1], [0]]
    assert {a.dtype.name for a in feed.values()} == {"float32"}
    assert collate_clips([clip(0)], BOTH, "all", SPEC)["face"].shape == (1, 1, 16, 16, 3)


def test_a_clip_that_lacks_an_input_is_refused():
    with pytest.raises(ValueError, match="clip 1 lacks"):
        collate_clips([clip(1), clip(0)], ("face",), "one", SPEC)
    with pytest.raises(ValueError, match="clip 0 lacks"):
        collate_clips([clip(1, voice=False)], ("mfcc",), "none", SPEC)


@pytest.mark.parametrize(
    ("names", "both", "face", "voice", "neither"),
    [
        (("face",), True, True, False, False),
        (("mfcc",), True, False, True, False),
        (("face", "mfcc"), True, False, False, False),
        (BOTH, True, True, True, False),
        (("face", "face_mask", "mfcc"), True, False, True, False),
        (("face", "mfcc", "mfcc_mask"), True, True, False, False),
        (("face", "face_mask"), True, True, False, False),
    ],
)
def test_what_a_network_can_predict(names, both, face, voice, neither):
    clips = [clip(1), clip(1, voice=False), clip(0), clip(0, voice=False)]
    assert [can_predict(c, names) for c in clips] == [both, face, voice, neither]


def masked_network(feed) -> dict[str, np.ndarray]:
    """Says something of every crop under the mask and of the sound, as a real one would."""
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=N_EMOTIONS), rng.normal(size=(SPEC.audio.n_mfcc, N_EMOTIONS))
    mask, crops = feed["face_mask"], feed["face"].mean(axis=(-3, -2, -1))
    face = (mask * crops).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    voice = (feed["mfcc"].mean(axis=2) @ b) * feed["mfcc_mask"]
    return {"logits": (face[:, None] * a / 10 + voice).astype(np.float32)}


def test_probabilities_do_not_depend_on_the_batch():
    clips = [clip(n % 5, voice=n % 3 > 0 or n % 5 == 0, seed=n) for n in range(19)]
    alone = predict_clips(masked_network, clips, BOTH, "all", SPEC, 1)
    assert (alone.shape, alone.dtype) == ((19, N_EMOTIONS), np.float32)
    np.testing.assert_allclose(alone.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(alone.round(4), axis=0)) > 10
    for batch in (2, 8, 100):
        probs = predict_clips(masked_network, clips, BOTH, "all", SPEC, batch)
        np.testing.assert_allclose(probs, alone, rtol=1e-5, atol=1e-7)
    turned = predict_clips(masked_network, clips[::-1], BOTH, "all", SPEC)[::-1]
    np.testing.assert_allclose(turned, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_each_means_the_crops_logits(batch):
    def run(feed):
        numbers = np.array(levels(feed["face"]), int) - 10
        return {"logits": np.eye(16, N_EMOTIONS, dtype=np.float32)[numbers] * 3}

    clips = [clip(1), clip(0), clip(3), clip(2)]
    probs = predict_clips(run, clips, ("face",), "each", SPEC, batch)
    for row, n in ((0, 1), (2, 3), (3, 2)):
        logits = np.zeros(N_EMOTIONS)
        logits[:n] = 3 / n
        np.testing.assert_allclose(probs[row], softmax(logits), rtol=1e-5)
    assert np.isnan(probs[1]).all()


@pytest.fixture(scope="module")
def shipped():
    return load(threads=1)


@pytest.mark.parametrize("value", [255.0, "noise"])
def test_padding_content_never_changes_a_prediction(shipped, value):
    """Whatever lies under a mask of 0: crops beyond a clip's last, a missing face or voice."""
    spec = shipped.bundle.spec
    rng = np.random.default_rng(0)
    batch = {
        "face": rng.integers(0, 256, (3, 4, *spec.face.shape)).astype(np.float32),
        "face_mask": np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32),
        "mfcc": rng.normal(0, 20, (3, *spec.audio.shape)).astype(np.float32),
        "mfcc_mask": np.array([[1], [0], [1]], np.float32),
    }
    assert set(batch) == set(shipped.bundle.inputs)
    hidden = {
        "face": (batch["face_mask"] == 0)[:, :, None, None, None],
        "mfcc": (batch["mfcc_mask"] == 0)[:, :, None],
    }
    clean, other = dict(batch), dict(batch)
    for name, where in hidden.items():
        noise = rng.uniform(0, 255, batch[name].shape) if value == "noise" else value
        clean[name] = np.where(where, 0, batch[name]).astype(np.float32)
        other[name] = np.where(where, noise, batch[name]).astype(np.float32)
        assert not np.array_equal(clean[name], other[name])
    expected, found = shipped.run(clean), shipped.run(other)
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)


def test_rows_of_nan_where_an_input_is_missing():
    calls = []

    def run(feed):
        calls.append(len(feed["mfcc"]))
        return {"logits": feed["mfcc"][:, 0, :N_EMOTIONS], "more": feed["mfcc"]}

    clips = [clip(1, voice=False), clip(1), clip(0, voice=False), clip(0)]
    probs = predict_clips(run, clips, ("mfcc",), "none", SPEC)
    assert np.isnan(probs).all(axis=1).tolist() == [True, False, True, False]
    assert np.isfinite(probs[[1, 3]]).all()
    assert calls == [2]
    assert np.isnan(predict_clips(run, clips[:1], ("mfcc",), "none", SPEC)).all()
    assert predict_clips(run, [], ("mfcc",), "none", SPEC).shape == (0, N_EMOTIONS)
    assert calls == [2]
