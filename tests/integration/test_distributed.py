"""Several processes end in the weights of one, and one that dies takes nothing with it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import zipfile
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
from keras_emo.training.team import gather_team

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

STAGE = "visual_small"
N_EPOCHS = 3
SPEC = ClipSpec(face=FaceSpec(size_px=32), audio=AudioSpec(duration_s=1.0))
SPLIT = Split(train=("a", "b", "c"), val=("d",), test=())
CONFIG = TrainConfig(
    stages=(STAGE,),
    deterministic=True,
    clip=SPEC,
    # ten do not divide by four: the workers' rows differ in number
    stage={STAGE: StageConfig(epochs=N_EPOCHS, batch=10, crops_a_clip=2, learning_rate=1e-3)},
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
        across = np.linspace(0, 20 * EMOTIONS.index(emotion), 32)[None, None, :, None]
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


def add_network() -> None:
    """One that takes little time to trace, with what has to be summed over workers."""
    import keras

    from keras_emo.networks.catalog import register
    from keras_emo.networks.layers import classify
    from keras_emo.networks.visual import convolve

    @register(STAGE, inputs=("face",), frames="each", presets={"compact": {"dropout": 0.0}})
    def build(spec: ClipSpec, dropout: float) -> keras.Model:
        face = keras.Input(spec.face.shape, name="face", dtype="float32")
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(face)
        for i, channels in enumerate((8, 16)):
            x = convolve(x, channels, 3, 2, batch_norm=True, name=f"conv{i}")
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
        features = keras.layers.Dropout(dropout, name="drop")(x)
        return keras.Model({"face": face}, classify(features, x), name=STAGE)


def work(prepared: Path, folder: Path, kind: str, die_at: int, changes: dict) -> None:
    """What train.py does once clips are prepared; dies without a word before step die_at."""
    from dataclasses import replace

    import tensorflow as tf

    from keras_emo.training import fit, lock
    from keras_emo.training.distributed import open_crew
    from keras_emo.training.run import open_run
    from keras_emo.training.stages import train_stages

    if kind == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    steps = iter(range(1, 10**6))
    check = fit.check_stopped

    def check_stopped() -> None:
        check()
        if next(steps) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    fit.check_stopped = check_stopped
    lock.SHARED_S = 1.0

    def train() -> int:
        with gather_team(kind) as team, team.one_output():
            add_network()
            crew = open_crew(kind, team)
            stage = replace(CONFIG.stage[STAGE], **changes.pop("stage", {}))
            config = replace(CONFIG, stage={STAGE: stage}, **changes)
            made = pickle.loads(prepared.read_bytes())
            train_stages(open_run(folder, config, made, crew=crew))
        return ExitCode.OK

    sys.exit(run_command(lambda: run_until_stopped(train, folder)))


def start(
    n: int, prepared: Path, folders: Path | list[Path], die_at: dict[int, int] | None = None,
    kind: str = "multiworker", changes: dict | None = None,
) -> list[subprocess.Popen]:  # fmt: skip
    """Workers on this machine; die_at: by number the step that one does not live to do."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = []
    for i in range(n):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}}
        folder = folders if isinstance(folders, Path) else folders[i]
        arguments = (prepared, folder, kind, (die_at or {}).get(i, 0), changes or {})
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from pathlib import Path, PosixPath\nimport test_distributed\n"
            f"test_distributed.work(*{arguments!r})"
        )
        settings = {
            "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "2", "OMP_NUM_THREADS": "1",
            "TF_CONFIG": json.dumps(task),
        }  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", code], env={**os.environ, **settings}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    return processes


def finish(processes: list[subprocess.Popen], timeout_s: float = 120) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; none is left running."""
    end_s = time.monotonic() + timeout_s
    try:
        said = [p.communicate(timeout=max(1, end_s - time.monotonic())) for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [(p.returncode, out, err) for p, (out, err) in zip(processes, said, strict=True)]


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


def assert_same(one: Path, other: Path, tolerance: float) -> None:
    a, b = read_weights(one), read_weights(other)
    assert set(a) == set(b)
    assert len(a) == 12
    for name, array in a.items():
        np.testing.assert_allclose(array, b[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    ((code, _, err),) = finish(start(1, prepared, folder, kind="none"))
    assert code == 0, err[-3000:]
    return folder


def line_of(errors: str) -> str:
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, errors
    return lines[0]


@pytest.mark.parametrize("n", [2, 4])
def test_workers_end_in_the_weights_of_one(prepared, alone, tmp_path, n):
    done = finish(start(n, prepared, tmp_path / "run"))
    assert [code for code, _, _ in done] == [0] * n, [err[-2000:] for _, _, err in done]
    assert f"{STAGE} {N_EPOCHS}/{N_EPOCHS}" in done[0][1]
    assert all(out == "" for _, out, _ in done[1:])  # the chief speaks for all
    assert_same(alone, tmp_path / "run", 1e-5)
    settings = (tmp_path / "run/config.json").read_bytes()
    assert settings == (alone / "config.json").read_bytes()


def test_devices_of_one_machine_end_in_the_weights_of_one(prepared, alone, tmp_path):
    ((code, _, err),) = finish(start(1, prepared, tmp_path / "run", kind="mirrored"))
    assert code == 0, err[-3000:]
    assert_same(alone, tmp_path / "run", 1e-5)


def test_embeddings_are_contrasted_over_all_workers(prepared, alone, tmp_path):
    """A batch is compared as a whole, whoever holds its rows."""
    changes = {"stage": {"contrast": 0.5}}
    for n, kind in ((1, "none"), (1, "mirrored"), (2, "multiworker")):
        done = finish(start(n, prepared, tmp_path / kind, kind=kind, changes=changes))
        assert [code for code, _, _ in done] == [0] * n, [err[-2000:] for _, _, err in done]
    assert_same(tmp_path / "none", tmp_path / "mirrored", 1e-5)
    assert_same(tmp_path / "none", tmp_path / "multiworker", 1e-5)
    with pytest.raises(AssertionError, match="Not equal"):
        assert_same(tmp_path / "none", alone, 1e-3)


def test_a_worker_that_dies_ends_the_run_which_then_goes_on(prepared, alone, tmp_path):
    """Killed in the second epoch, of two; both started again go on after the first."""
    folder = tmp_path / "run"
    begun_s = time.monotonic()
    (chief, out, err), (killed, _, _) = finish(start(2, prepared, folder, {1: 13}))
    assert killed == -signal.SIGKILL
    assert chief == ExitCode.ENVIRONMENT
    assert "'worker 1 of 2': worker_died:" in line_of(err)
    assert out.startswith(f"{STAGE} 1/{N_EPOCHS}")
    assert time.monotonic() - begun_s < 100
    stands = json.loads((folder / STAGE / "state.json").read_text())
    assert (stands["epoch"], stands["done"]) == (0, False)
    assert not (folder / STAGE / "model.keras").exists()
    done = finish(start(2, prepared, folder))
    assert [code for code, _, _ in done] == [0, 0], [err[-2000:] for _, _, err in done]
    assert f"{STAGE}: resumed after epoch 1" in done[0][1]
    assert_same(alone, folder, 1e-5)


def test_a_worker_that_does_not_see_the_run_folder_is_refused(prepared, tmp_path):
    """Both ends say why and stop before a step is made."""
    done = finish(start(2, prepared, [tmp_path / "one", tmp_path / "other"]))
    assert [code for code, _, _ in done] == [ExitCode.USAGE] * 2
    for _, _, err in done:
        assert f"'{tmp_path}/other': not_found: worker 1 does not see" in line_of(err)


def test_bfloat16_trains_and_is_saved_as_float32(prepared, alone, tmp_path):
    folder = tmp_path / "run"
    changes = {"mixed_precision": "bfloat16", "stage": {"epochs": 1}}
    ((code, _, err),) = finish(start(1, prepared, folder, kind="none", changes=changes))
    assert code == 0, err[-3000:]
    assert json.loads((folder / "config.json").read_text())["config"]["mixed_precision"]
    assert all(a.dtype == np.float32 for a in read_weights(folder).values())
    with zipfile.ZipFile(folder / STAGE / "model.keras") as z:
        told = z.read("config.json").decode()
    assert "float32" in told
    assert "bfloat16" not in told
    assert '"synchronized": true' not in told
