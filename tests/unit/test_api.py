"""The public API: what is exported, what goes in, what comes out."""

import doctest
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

import keras_emo
from keras_emo.errors import Reason
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource, read_media

FOLDER = Path(__file__).resolve().parents[2] / "saved_models" / "default"
PUBLIC = [
    "EMOTIONS", "BundleError", "ClipError", "ClipTimeout", "EmoError", "EnvironmentFailure", "Face",
    "Model", "Prediction", "Segment", "Timeline", "UsageError", "WindowPrediction", "__version__",
    "load", "networks",
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    with keras_emo.load(FOLDER, threads=1) as model:
        assert repr(model) == f"Model({str(FOLDER)!r}, from face and voice)"
        yield model


@pytest.fixture(scope="module")
def arrays(drawn):
    """Every frame of the clip, and its sound, as they are decoded."""
    media = read_media(drawn, frame_rate_hz=1000, max_frames=10_000)
    frames = [frame.rgb for frame in media.frames]
    fps = 1 / media.frames[1].time_s
    return {"frames": frames, "fps": fps, "audio": media.waveform,
            "sample_rate": media.sample_rate_hz}  # fmt: skip


def test_the_names_are_these():
    assert keras_emo.__all__ == PUBLIC
    assert dir(keras_emo) == sorted(PUBLIC)
    assert all(getattr(keras_emo, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'Predictor'"):
        _ = keras_emo.Predictor


def test_importing_is_cheap():
    heavy = "{'numpy', 'onnxruntime', 'cv2', 'av', 'soxr', 'keras', 'tensorflow', 'pandas'}"
    script = f"import sys, keras_emo; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def test_the_default_is_the_pretrained_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERAS_EMO_BUNDLE", raising=False)
    assert keras_emo.load(threads=1).bundle.manifest.name == "default"
    monkeypatch.setenv("KERAS_EMO_BUNDLE", str(tmp_path / "none"))
    with pytest.raises(keras_emo.BundleError, match="no_bundle"):
        keras_emo.load()


def test_the_reference_page(drawn, arrays, tmp_path, monkeypatch):
    """Its examples, run in a folder with a clip and a photo."""
    import cv2

    (tmp_path / "clip.mp4").write_bytes(drawn.read_bytes())
    jpeg = cv2.imencode(".jpg", arrays["frames"][0][:, :, ::-1])[1]
    (tmp_path / "photo.jpg").write_bytes(jpeg.tobytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KERAS_EMO_BUNDLE", raising=False)
    page = FOLDER.parents[1] / "docs" / "reference" / "api.md"
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    found = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert (found.failed, found.attempted > 20) == (0, True)


def test_a_prediction(model, drawn):
    p = model.predict(drawn)
    assert list(p.probs) == list(EMOTIONS)
    assert sum(p.probs.values()) == pytest.approx(1, abs=1e-6)
    assert p.label == max(p.probs, key=p.probs.get)
    assert p.confidence == p.probs[p.label]
    assert (p.path, p.modalities, p.states) == (str(drawn), ("face", "voice"), ())
    assert (p.probs_face, p.probs_voice, p.degraded) == (None, None, False)
    assert repr(p) == f"Prediction({p.label} {p.confidence:.2f}, from face+voice, path={p.path!r})"
    with pytest.raises(FrozenInstanceError):
        p.label = "happy"
    written = json.loads(p.to_json())
    assert written == p.to_dict()
    assert list(written) == [
        "path", "label", "confidence", "probs", "modalities", "states", "faces", "duration_s",
        "damage", "warnings", "probs_face", "probs_voice",
    ]  # fmt: skip
    assert written["damage"] == {"packets": 0, "missing_s": 0.0}
    assert written["probs"]["sad"] == round(p.probs["sad"], 6)


def test_paths_of_any_kind_are_one_clip(model, drawn, arrays):
    """Also the same frames and sound as arrays, which go the same way."""
    p = model.predict(str(drawn))
    assert model.predict(drawn) == model.predict(ClipSource(video=drawn)) == p
    q = model.predict(**arrays)
    assert q.path is None
    assert q.probs == p.probs
    assert q.faces == p.faces
    assert model.predict(**arrays | {"frames": np.stack(arrays["frames"])}).probs == p.probs
    stereo = np.stack([arrays["audio"]] * 2, axis=1)
    for audio in (stereo, stereo.astype(np.float64)):
        assert model.predict(**arrays | {"audio": audio}).probs == p.probs
    coded = np.round(arrays["audio"] * 32767).astype(np.int16)
    assert model.predict(**arrays | {"audio": coded}).probs == pytest.approx(p.probs, abs=0.02)


def test_modalities_alone(model, drawn, arrays):
    p = model.predict(drawn, parts=True)
    voice = model.predict(audio=arrays["audio"], sample_rate=arrays["sample_rate"])
    assert (voice.modalities, voice.states) == (("voice",), (Reason.NO_VIDEO,))
    assert voice.degraded
    assert p.probs_voice == pytest.approx(voice.probs, abs=1e-5)
    face = model.predict(frames=arrays["frames"], fps=arrays["fps"])
    assert (face.modalities, face.states) == (("face",), (Reason.NO_AUDIO,))
    assert p.probs_face == pytest.approx(face.probs, abs=1e-5)


def test_a_picture_is_a_clip_of_one_frame(model, arrays, tmp_path):
    import cv2

    path = tmp_path / "face.PNG"
    path.write_bytes(cv2.imencode(".png", arrays["frames"][0][:, :, ::-1])[1].tobytes())
    p = model.predict(path)
    assert (p.modalities, p.states, p.faces.examined) == (("face",), (Reason.NO_AUDIO,), 1)
    assert p.probs == model.predict(frames=arrays["frames"][:1], fps=3).probs


def test_frames_are_sampled_as_in_a_file(model):
    """3 a second of 25: frames 0, 8, 17, 25, ... are looked at; 10 s are 30 of them."""
    seen = []

    class Detector:
        def detect(self, rgb):
            seen.append(int(rgb[0, 0, 0]))
            return []

    other = keras_emo.load(model.bundle, threads=1, detector=Detector())
    frames = np.full((3, 60, 40, 250), np.arange(250), np.uint8).T
    tone = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    p = other.predict(frames=frames, fps=25, audio=tone, sample_rate=16_000)
    assert seen[:4] == [0, 8, 17, 25]
    assert (len(seen), p.faces.examined, p.duration_s) == (30, 30, 10.0)


FRAMES, SOUND = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(9, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "a path, frames or audio"),
        ({"source": 3}, TypeError, r"a path \(str or os.PathLike\).*got int"),
        ({"source": b"a.mp4"}, TypeError, "got bytes"),
        ({"source": "a.mp4", "fps": 25}, TypeError, "not both"),
        ({"frames": FRAMES}, TypeError, "fps must be a number"),
        ({"frames": FRAMES, "fps": 0}, ValueError, "fps is 0"),
        ({"frames": "a.mp4", "fps": 25}, TypeError, "uint8 arrays.*got str"),
        ({"frames": FRAMES / 2, "fps": 25}, TypeError, "got float64"),
        ({"frames": [[1, 2]], "fps": 25}, TypeError, "got list"),
        ({"frames": FRAMES[..., 0], "fps": 25}, ValueError, r"shape \(4, 4\)"),
        ({"frames": [], "fps": 25}, ValueError, "empty"),
        ({"audio": SOUND}, TypeError, "sample_rate must be a number"),
        ({"audio": SOUND, "sample_rate": 10}, ValueError, "sample_rate is 10"),
        ({"audio": [0.0], "sample_rate": 16000}, TypeError, "got list"),
        ({"audio": SOUND.astype(int), "sample_rate": 16000}, TypeError, "got int64"),
        ({"audio": SOUND.reshape(9, 1)[:, :0], "sample_rate": 16000}, ValueError, r"\(9, 0\)"),
    ],
)
def test_wrong_arguments(arguments, error, message, model):
    with pytest.raises(error, match=message):
        model.predict(**arguments)


def test_arrays_without_a_usable_modality(model):
    with pytest.raises(keras_emo.ClipError, match=r"'arrays': no_modality: .*silent_audio"):
        model.predict(frames=np.zeros((2, 40, 40, 3), np.uint8), fps=3,
                      audio=np.zeros(16_000, np.float32), sample_rate=16_000)  # fmt: skip
    for value in (np.nan, np.inf):
        with pytest.raises(keras_emo.ClipError, match="non_finite_audio"):
            model.predict(audio=np.array([0.1, value] * 8000), sample_rate=16_000)


def test_a_batch_goes_on(model, drawn, tmp_path):
    (tmp_path / "empty.wav").touch()
    first, second, third = model.predict_batch([drawn, tmp_path / "empty.wav", str(drawn)])
    assert first == third == model.predict(drawn)
    assert isinstance(second, keras_emo.ClipError)
    assert second.reason == "empty_file"
    for wrong in ([drawn, 3], str(drawn), drawn):
        with pytest.raises(TypeError, match="expected"):
            model.predict_batch(wrong)
    with pytest.raises(TypeError, match="got list"):
        model.stream([drawn])


def test_a_timeline_and_its_stream(model, drawn, tmp_path):
    t = model.timeline(drawn, 1.0, 0.5)
    assert [(w.start_s, w.end_s) for w in t.windows[:3]] == [(0, 1), (0.5, 1.5), (1, 2)]
    stream = model.stream(str(drawn), 1.0, 0.5)
    assert tuple(w.to_plain() for w in stream) == t.windows
    assert (stream.duration_s, stream.damage, stream.warnings) == (
        t.duration_s, t.damage, t.warnings,
    )  # fmt: skip
    assert (t.segments[0].start_s, t.segments[-1].end_s) == (0, t.end_s)
    assert repr(t).startswith(f"Timeline({t.duration_s:.1f} s, {len(t.windows)} windows, ")
    assert repr(t.windows[0]).startswith("WindowPrediction(0.0-1.0 s: ")
    assert json.loads(t.to_json())["windows"][0] == t.windows[0].to_dict()
    t.plot(tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    assert drawn.name in t.to_html()
    with pytest.raises(keras_emo.UsageError, match="window"):
        model.timeline(drawn, 100.0)


def test_dataframes(model, drawn, monkeypatch):
    pandas = pytest.importorskip("pandas")
    p, t = model.predict(drawn), model.timeline(drawn)
    row = p.to_dataframe()
    assert isinstance(row, pandas.DataFrame)
    assert (len(row), row["label"][0], row["happy"][0]) == (1, p.label, round(p.probs["happy"], 6))
    assert list(t.to_dataframe()["start_s"]) == [w.start_s for w in t.windows]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        p.to_dataframe()


def test_an_embedding_belongs_to_its_clip(model, drawn, arrays):
    embedding = model.embed(drawn)
    assert (embedding.dtype, embedding.ndim) == (np.float32, 1)
    assert np.isfinite(embedding).all()
    np.testing.assert_array_equal(model.embed(**arrays), embedding)
    voice = model.embed(audio=arrays["audio"], sample_rate=arrays["sample_rate"])
    assert voice.shape == embedding.shape
    assert not np.array_equal(voice, embedding)


def test_a_provider_that_is_missing_is_an_error():
    with pytest.raises(keras_emo.EnvironmentFailure) as caught:
        keras_emo.load(FOLDER, providers=["NoSuchExecutionProvider"])
    assert "NoSuchExecutionProvider" in str(caught.value)
    assert "CPUExecutionProvider" in caught.value.cause
    with pytest.raises(TypeError, match="sequence"):
        keras_emo.load(FOLDER, providers="CPUExecutionProvider")
    model = keras_emo.load(FOLDER, providers=["CPUExecutionProvider"])
    assert model.session.get_providers() == ["CPUExecutionProvider"]
    for options in ({"detector": object()}, {"providers": ["NoSuchExecutionProvider"]}):
        with pytest.raises(keras_emo.UsageError, match="sandbox"):
            keras_emo.load(FOLDER, sandbox=True, **options)


def test_the_package_lists_every_folder():
    """pyproject.toml names the packages, since the pretrained model lies outside of keras_emo."""
    import tomllib

    root = FOLDER.parents[1]
    setup = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    modules = (root / "keras_emo").rglob("__init__.py")
    folders = {".".join(path.relative_to(root).parent.parts) for path in modules}
    assert set(setup["packages"]) == folders | {"keras_emo.pretrained"}
    assert setup["package-dir"] == {"keras_emo.pretrained": "saved_models/default"}
