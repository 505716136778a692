"""Preparation into shards: from clips to shards, and again with the prepared files gone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.cli.train import main
from keras_emo.data import cache
from keras_emo.data.augment import WaveSpec
from keras_emo.data.samples import Sample
from keras_emo.data.splits import Split
from keras_emo.errors import UsageError
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec
from keras_emo.training.data import Storage, prepare

SPEC = ClipSpec(face=FaceSpec(size_px=32))
SPLIT = Split(train=("a",), val=("b",), test=("c",))
WAVES = WaveSpec(n_variants=2)


@pytest.fixture
def corpus(make, box, tmp_path):
    """A clip a speaker, with a face where the detector is asked, and one that is no clip."""
    samples = []
    for i, speaker in enumerate("abc"):
        path = tmp_path / f"{speaker}.mp4"
        make.video(path, make.grey_frames(15), sound=make.sine(0.5, hz=200.0 + i))
        samples.append(Sample(speaker, "builtin", speaker, "male", "happy", ClipSource(video=path)))
    (tmp_path / "bad.mp4").write_bytes(b"no clip")
    bad = ClipSource(video=tmp_path / "bad.mp4")
    samples.append(Sample("bad", "builtin", "a", "male", "sad", bad))
    return SimpleNamespace(samples=samples, name="builtin")


def look(prepared) -> list:
    """Everything training and scoring read."""
    clips = prepared.training_clips()
    prepared.augment_voices(clips, WAVES)
    n = np.arange(len(clips))
    seen = [
        [t.sample_id for t in clips.samples],
        clips.faces[:],
        clips.mfcc[:],
        clips.variants[n, n],
    ]
    for part in ("val", "test"):
        for sample, clip in prepared.clips(part):
            seen += [sample.sample_id, clip.face, clip.mfcc, clip.times_s, clip.modalities]
    return seen


def test_the_same_with_and_without_shards_and_files(corpus, tmp_path, monkeypatch, capsys):
    memory = look(prepare(corpus, SPLIT, SPEC, tmp_path / "cache", 1))
    storage = Storage(tmp_path / "cache", tmp_path / "shards", drop=True)
    first = prepare(corpus, SPLIT, SPEC, storage, 1)
    np.testing.assert_equal(look(first), memory)
    assert [f.path for f in first.cache.failures] == [str(tmp_path / "bad.mp4")]
    assert not list((tmp_path / "cache").rglob("*.npz"))  # dropped
    monkeypatch.setattr(cache, "prepare_clip", lambda *_: pytest.fail("prepared again"))
    monkeypatch.setattr(cache, "augment_clip", lambda *_: pytest.fail("altered again"))
    monkeypatch.delattr("keras_emo.data.packing.np.savez")  # nor packed
    corpus.samples = corpus.samples[:3]
    np.testing.assert_equal(look(prepare(corpus, SPLIT, SPEC, storage, 1)), memory)
    assert "failed: " in capsys.readouterr().err


def test_calibration_reads_the_shards_of_the_run(corpus, tmp_path, monkeypatch, capsys):
    """What int8 is fitted on and scored with, when the prepared files are gone."""
    pytest.importorskip("onnx")
    from keras_emo.cli import export as command
    from keras_emo.export import calibration
    from keras_emo.export import gate as gating
    from keras_emo.networks import MODELS
    from keras_emo.training.run import digest_clips

    def open_gate(*more: str):
        options = ["--run", "r", "--model", "m", "--out", "o", "--quantize", "int8", "--data", "x"]
        options += ["--cache", str(tmp_path / "cache"), "--workers", "1", *more]
        monkeypatch.setattr("keras_emo.training.data.open_corpus", lambda *_: corpus)
        return command._open_gate(command.build_parser().parse_args(options), SPEC)

    def feeds_of(gate) -> list:
        entry = MODELS["fusion_concat"]
        samples = calibration.choose_samples(gate.prepared, entry, 20)
        return [
            [t.sample_id for t in samples],
            *calibration.read_feeds(samples, entry, gate.prepared),
        ]

    monkeypatch.setattr(gating, "assert_disjoint", lambda *_: None)
    monkeypatch.setattr(gating, "read_runs", lambda _: asked)
    before = prepare(corpus, SPLIT, SPEC, tmp_path / "cache", 1)
    asked = {"corpus": "builtin", "split": SPLIT.to_dict(), "clips": digest_clips(before)}
    expected = feeds_of(open_gate())
    assert expected[0] == ["a"]
    storage = Storage(tmp_path / "cache", tmp_path / "shards", drop=True)
    prepare(corpus, SPLIT, SPEC, storage, 1)
    assert not list((tmp_path / "cache").rglob("*.npz"))
    corpus.samples = corpus.samples[:3]  # the bad one would be tried again
    monkeypatch.setattr(cache, "prepare_clip", lambda *_: pytest.fail("prepared again"))
    gate = open_gate("--shards", str(tmp_path / "shards"))
    np.testing.assert_equal(feeds_of(gate), expected)

    def run(feed):
        return {"logits": np.eye(7, dtype=np.float32)[[3] * len(feed["mfcc"])]}

    scores = calibration.score_part({"fp32": run, "int8": run}, MODELS["audio_cnn"],
                                    gate.prepared, "val")  # fmt: skip
    assert scores == {"n_clips": 1, "fp32": 1.0, "int8": 1.0, "agreement": 1.0}
    with pytest.raises(UsageError, match="no such folder of shards"):
        open_gate("--shards", str(tmp_path / "nowhere"))


def test_options_that_need_shards(capsys, tmp_path, monkeypatch):
    known = SimpleNamespace(samples=[], name="builtin")
    monkeypatch.setattr("keras_emo.cli.train.open_corpus", lambda *_: known)
    monkeypatch.setattr("keras_emo.cli.train.split_corpus", lambda *_: None)
    for option in ("--drop-prepared", "--trust-shards"):
        assert main(["--data", "x", "--out", str(tmp_path / "run"), option]) == 2
        assert f"error: '{option}': bad_config: " in capsys.readouterr().err
