"""Several workers end in the weights of one process, and one that dies is replaced."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_emo.cli.run import run_command
from keras_emo.data.cache import CacheReport
from keras_emo.data.corpus import Sample
from keras_emo.data.splits import Split
from keras_emo.errors import ExitCode
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec
from keras_emo.training.config import StageConfig, TrainConfig
from keras_emo.training.data import Prepared
from keras_emo.training.interrupt import run_until_stopped
from keras_emo.training.workers import Workers, train_run

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

STAGE = "visual_alexnet"  # compact: with batch normalization
N_EPOCHS = 4
TIMEOUT_S = 500
SPEC = ClipSpec(face=FaceSpec(size_px=64), audio=AudioSpec(duration_s=1.0))
SPLIT = Split(train=("a", "b", "c"), val=("d",), test=())
CONFIG = TrainConfig(
    stages=(STAGE,),
    deterministic=True,
    clip=SPEC,
    # ten do not divide by four: the workers' rows differ in number
    stage={STAGE: StageConfig(epochs=N_EPOCHS, batch=10, crops_a_clip=2, learning_rate=3e-4)},
    model={STAGE: {"width": 0.125, "dense_units": 16, "dropout": 0.0}},
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Four speakers with two clips a class, prepared, as a file that the workers read."""
    root = tmp_path_factory.mktemp("distributed")
    samples, files = [], {}
    for i, (speaker, emotion, n) in enumerate(
        (s, e, n) for s in "abcd" for e in EMOTIONS for n in range(2)
    ):
        sample_id = f"{speaker}/{emotion}{n}"
        source = ClipSource(video=root / f"{i}.mp4")
        samples.append(Sample(sample_id, "builtin", speaker, "female", emotion, source))
        rng = np.random.default_rng(i)
        across = np.linspace(0, 20 * EMOTIONS.index(emotion), 64)[None, None, :, None]
        noise = rng.integers(0, 90, (3, *SPEC.face.shape))
        info = {"duration_s": 1.0, "frames_examined": 3, "states": [], "warnings": []}
        files[sample_id] = root / f"{i:024d}.npz"
        np.savez(
            files[sample_id],
            face=(across + noise).astype(np.uint8),
            face_found=np.ones(3, bool),
            times_s=np.arange(3, dtype=np.float32),
            boxes=np.zeros((3, 4), np.float32),
            info=np.array(json.dumps(info)),
        )
    corpus = SimpleNamespace(samples=samples, name="builtin")
    path = root / "prepared.pickle"
    made = Prepared(corpus, SPLIT, CacheReport(files), SPEC, root, 1)
    path.write_bytes(pickle.dumps(made))
    return path


def work(prepared: Path, folder: Path, kind: str, changes: dict) -> None:
    """What train.py does once clips are prepared; kind: none, mirrored, or how many workers."""
    import tensorflow as tf

    from keras_emo.training.distributed import mirror_devices
    from keras_emo.training.run import open_run

    if kind == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)

    def train() -> int:
        replicas = mirror_devices() if kind == "mirrored" else None
        stage = replace(CONFIG.stage[STAGE], **changes.pop("stage", {}))
        config = replace(CONFIG, stage={STAGE: stage}, **changes)
        run = open_run(folder, config, pickle.loads(prepared.read_bytes()), replicas=replicas)
        train_run(run, Workers(int(kind)) if kind.isdigit() else None)
        return ExitCode.OK

    sys.exit(run_command(lambda: run_until_stopped(train, folder)))


def start(prepared: Path, folder: Path, kind: str, changes: dict | None = None):
    arguments = (prepared, folder, kind, changes or {})
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path, PosixPath\nimport test_distributed\n"
        f"test_distributed.work(*{arguments!r})"
    )
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **settings}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def train(prepared: Path, folder: Path, kind: str, changes: dict | None = None) -> str:
    """Train to the end; what was printed."""
    process = start(prepared, folder, kind, changes)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out[-1000:] + err[-3000:]
    return out


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Weights of the saved network, without the state of an optimiser."""
    import h5py

    found: dict[str, np.ndarray] = {}
    path = folder / STAGE / "model.keras"
    with zipfile.ZipFile(path) as z, z.open("model.weights.h5") as f, h5py.File(f) as store:
        store.visititems(
            lambda name, x: found.__setitem__(name, x[()]) if isinstance(x, h5py.Dataset) else None
        )
    return {k: v for k, v in found.items() if not k.startswith("optimizer")}


def assert_same(one: Path, other: Path, tolerance: float = 1e-4) -> None:
    a, b = read_weights(one), read_weights(other)
    assert set(a) == set(b)
    assert len(a) > 20
    print("largest difference", max(np.abs(array - b[name]).max() for name, array in a.items()))
    for name, array in a.items():
        np.testing.assert_allclose(array, b[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(prepared, folder, "none")
    return folder


@pytest.mark.parametrize("kind", ["4", "mirrored"])
def test_replicas_end_in_the_weights_of_one(prepared, alone, tmp_path, kind):
    """Workers of Ray Train, and the devices of one machine."""
    printed = train(prepared, tmp_path / "run", kind)
    assert printed.count(f"{STAGE} {N_EPOCHS}/{N_EPOCHS}") == 1  # the coordinator alone prints
    assert_same(alone, tmp_path / "run")
    settings = (tmp_path / "run/config.json").read_bytes()
    assert settings == (alone / "config.json").read_bytes()
    with zipfile.ZipFile(tmp_path / "run" / STAGE / "model.keras") as z:
        assert '"synchronized": true' not in z.read("config.json").decode()


def test_a_killed_worker_is_replaced(prepared, alone, tmp_path):
    """Killed after the first epoch; nothing is started again by hand."""
    import psutil

    folder = tmp_path / "run"
    process = start(prepared, folder, "2")
    end_s = time.monotonic() + TIMEOUT_S
    while not (folder / STAGE / "state.json").exists():
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [p for p in family if "RayTrainWorker" in p.name() + " ".join(p.cmdline())]
    assert len(workers) == 2
    os.kill(workers[-1].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, out[-1000:] + err[-3000:]
    assert f"{STAGE}: resumed after epoch" in out
    assert_same(alone, folder)


def test_embeddings_are_contrasted_over_all_replicas(prepared, alone, tmp_path):
    """A batch is compared as a whole, whichever replica has its rows."""
    changes = {"stage": {"contrast": 0.5, "epochs": 2}}
    for kind in ("none", "mirrored"):
        train(prepared, tmp_path / kind, kind, changes)
    assert_same(tmp_path / "none", tmp_path / "mirrored")
    with pytest.raises(AssertionError, match="Not equal"):
        assert_same(tmp_path / "none", alone)


def test_an_error_of_the_training_ends_all_workers(prepared, tmp_path):
    """One line, as in one process."""
    changes = {"stage": {"learning_rate": 1e30, "clip_norm": 1e30}}
    process = start(prepared, tmp_path / "run", "2", changes)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == ExitCode.REJECTED, err[-3000:]
    (line,) = [x for x in err.splitlines() if x.startswith("error:")]
    assert "nan_loss" in line
    assert "Traceback" not in err


def test_bfloat16_trains_and_is_saved_as_float32(prepared, tmp_path):
    folder = tmp_path / "run"
    train(prepared, folder, "none", {"mixed_precision": "bfloat16", "stage": {"epochs": 1}})
    assert json.loads((folder / "config.json").read_text())["config"]["mixed_precision"]
    assert all(a.dtype == np.float32 for a in read_weights(folder).values())
    with zipfile.ZipFile(folder / STAGE / "model.keras") as z:
        saved = z.read("config.json").decode()
    assert "float32" in saved
    assert "bfloat16" not in saved
