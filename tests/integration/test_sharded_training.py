"""Training from shards ends in the very weights of training from memory."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.data.cache import CacheReport
from keras_emo.data.packing import pack_clips, pack_voices
from keras_emo.data.samples import Sample
from keras_emo.data.splits import Split
from keras_emo.errors import ClipError
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec
from keras_emo.training import data as training_data
from keras_emo.training.config import StageConfig, TrainConfig
from keras_emo.training.data import Storage, prepare

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

SPEC = ClipSpec(
    face=FaceSpec(size_px=64), audio=AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
)  # fmt: skip
SPLIT = Split(train=("a", "b", "c"), val=("d",), test=("e",))
STAGES = ("visual_alexnet", "audio_cnn", "fusion_concat")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five speakers with two clips a class, prepared; some without a face, or sound, or both."""
    root = tmp_path_factory.mktemp("sharded")
    samples, files, voices = [], {}, {}
    for i, (speaker, emotion, n) in enumerate(
        (s, e, n) for s in "abcde" for e in EMOTIONS for n in range(2)
    ):
        rng = np.random.default_rng(i)
        sample_id = f"{speaker}/{emotion}{n}"
        source = ClipSource(video=root / f"{sample_id.replace('/', '-')}.mp4")
        samples.append(Sample(sample_id, "builtin", speaker, "female", emotion, source))
        if i % 19 == 5:
            continue  # one of those that failed
        n_crops = 0 if i % 11 == 2 else int(rng.integers(1, 7))
        info = {"duration_s": 1.0, "frames_examined": 3, "states": [], "warnings": []}
        level = 30 * EMOTIONS.index(emotion)
        arrays = {
            "face_found": np.ones(n_crops, bool),
            "times_s": np.arange(n_crops, dtype=np.float32),
            "boxes": np.zeros((n_crops, 4), np.float32),
            "info": np.array(json.dumps(info)),
        }
        if n_crops:
            noise = rng.integers(0, 40, (n_crops, *SPEC.face.shape))
            arrays["face"] = (level + noise).astype(np.uint8)
        path = root / f"{i:024d}.npz"
        if i % 11 != 7:
            arrays["mfcc"] = rng.normal(level, 25, SPEC.audio.shape).astype(np.float32)
            if i % 3:
                voices[sample_id] = root / f"voice{i:019d}.npz"
                altered = rng.normal(level, 25, (2, *SPEC.audio.shape)).astype(np.float32)
                np.savez(voices[sample_id], mfcc=altered)
        np.savez(path, **arrays)
        files[sample_id] = path
    return SimpleNamespace(root=root, samples=samples, files=files, voices=voices)


@pytest.fixture
def cache(made, monkeypatch):
    """Preparation finds all of it done."""
    monkeypatch.setattr(training_data, "build_cache", lambda *_: CacheReport(dict(made.files)))
    monkeypatch.setattr(training_data, "build_variants", lambda *_: CacheReport(dict(made.voices)))
    for pack in (pack_clips, pack_voices):
        small = partial(pack, shard_bytes=200_000)
        monkeypatch.setattr(training_data, pack.__name__, small)
    return made


def small_config() -> TrainConfig:
    stage = {
        "visual_alexnet": StageConfig(epochs=1, batch=16, crops_a_clip=1),
        "audio_cnn": StageConfig(epochs=2, batch=16),
        "fusion_concat": StageConfig(epochs=1, batch=16, passes=1),
    }
    return TrainConfig(
        stages=STAGES,
        deterministic=True,
        clip=SPEC,
        waves=training_data.WaveSpec(n_variants=2),
        stage=stage,
        model={
            "visual_alexnet": {"width": 0.125, "dense_units": 16},
            "audio_cnn": {"width": 0.125, "dense_units": 16},
            "fusion_concat": {"units": (16, 8)},
        },
    )


def train(made, folder: Path, storage: Storage) -> Path:
    from keras_emo.training.run import open_run
    from keras_emo.training.stages import train_stages

    config = small_config()
    corpus = SimpleNamespace(samples=made.samples, name="builtin")
    run = open_run(folder, config, prepare(corpus, SPLIT, config.clip, storage))
    train_stages(run)
    run.lock.close()
    return folder


def weights_of(folder: Path, stage: str) -> list[np.ndarray]:
    import h5py

    found = []
    archive = folder / stage / "model.keras"
    shutil.unpack_archive(archive, folder / stage / "open", "zip")
    with h5py.File(folder / stage / "open/model.weights.h5") as f:
        f.visititems(lambda name, v: found.append(v[()]) if isinstance(v, h5py.Dataset) else None)
    return found


def test_bit_equal_to_training_from_memory(cache, tmp_path):
    pytest.importorskip("tensorflow")
    memory = train(cache, tmp_path / "memory", Storage(tmp_path))
    storage = Storage(tmp_path, tmp_path / "shards")
    disk = train(cache, tmp_path / "disk", storage)
    assert len(list((tmp_path / "shards").glob("*/*.npz"))) > 4
    for stage in STAGES:
        one, other = weights_of(memory, stage), weights_of(disk, stage)
        assert len(one) == len(other) > 4
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
        for part in ("val", "test"):
            name = f"predictions_{part}.csv"
            assert (memory / stage / name).read_bytes() == (disk / stage / name).read_bytes()


def test_a_shard_cut_short_during_training_is_one_error(cache, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    from keras_emo.training import stages

    def cut(run, *_):
        """A disk that loses the end of a file once training has begun."""
        os.truncate(run.prepared.shards.files[0], 4000)

    monkeypatch.setattr(stages, "_find_start", cut)
    with pytest.raises(ClipError, match=r"\.npz.*unreadable.*cut short"):
        train(cache, tmp_path / "cut", Storage(tmp_path, tmp_path / "shards"))


def test_damage_is_refused_before_training(cache, tmp_path):
    corpus = SimpleNamespace(samples=cache.samples, name="builtin")
    storage = Storage(tmp_path, tmp_path / "shards")
    prepared = prepare(corpus, SPLIT, SPEC, storage)
    assert [c is None for _, c in prepared.clips("val")].count(True) == sum(
        t.sample_id not in cache.files for t in prepared.samples("val")
    )
    victim = prepared.shards.files[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    victim.write_bytes(data)
    with pytest.raises(ClipError, match=f"{victim.name}.*sha256"):
        prepare(corpus, SPLIT, SPEC, storage)
    victim.unlink()
    assert len(prepare(corpus, SPLIT, SPEC, storage).shards) == len(prepared.shards)
