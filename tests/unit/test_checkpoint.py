"""States on disk: what is torn is never taken, and what is older and whole is."""

import csv
import json

import numpy as np
import pytest

from keras_emo.errors import EnvironmentFailure, UsageError
from keras_emo.training.checkpoint import Checkpoints, drop_checkpoints

IDENTITY = {"seed": 3, "split": "abc"}
RANKS = [0.2, 0.5, 0.3]  # the second epoch is the best


def arrays_of(epoch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(epoch)
    return {
        "model/0000": rng.normal(size=(3, 4)).astype(np.float32),
        "optimizer/0000": rng.random(),
    }


@pytest.fixture
def folder(tmp_path):
    """Three epochs saved."""
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    assert checkpoints.restore() == 0
    for epoch, rank in enumerate(RANKS):
        checkpoints.save(epoch, arrays_of(epoch), [rank], {"loss": 1 / (epoch + 3)}, epoch == 2)
    return tmp_path


def check(checkpoints: Checkpoints, epoch: int) -> None:
    for name, array in checkpoints.load(epoch).items():
        np.testing.assert_array_equal(array, arrays_of(epoch)[name])
        assert array.dtype == np.asarray(arrays_of(epoch)[name]).dtype


def test_last_and_best_are_kept(folder, capsys):
    checkpoints = Checkpoints(folder, IDENTITY)
    assert checkpoints.restore() == 3
    assert checkpoints.state.done
    check(checkpoints, 2)
    check(checkpoints, checkpoints.state.best_epoch)
    assert checkpoints.state.best_epoch == 1
    names = {"state.json", "history.csv", "epoch-0001.npz", "epoch-0002.npz"}
    assert {p.name for p in folder.iterdir()} == names
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [float(r["loss"]) for r in rows] == [1 / 3, 1 / 4, 1 / 5]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"PK")])
def test_a_damaged_last_state_falls_back_to_the_best(folder, capsys, damage):
    damage(folder / "epoch-0002.npz")
    checkpoints = Checkpoints(folder, IDENTITY)
    assert checkpoints.restore() == 2
    assert not checkpoints.state.done
    assert [row["epoch"] for row in checkpoints.state.history] == [0, 1]
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "epoch-0002.npz" in warning
    assert "after epoch 2" in warning
    checkpoints.save(2, arrays_of(2), [0.3], {"loss": 0.2}, True)
    assert Checkpoints(folder, IDENTITY).restore() == 3


@pytest.mark.parametrize("name", ["epoch-0001.npz", "state.json"])
def test_without_the_best_state_the_stage_starts_again(folder, capsys, name):
    data = bytearray((folder / name).read_bytes())
    (folder / name).write_bytes(data[: len(data) // 2])
    checkpoints = Checkpoints(folder, IDENTITY)
    assert checkpoints.restore() == 0
    assert checkpoints.state.best is None
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert name in warning
    assert "starts again" in warning


def test_a_flipped_byte_is_seen(folder, capsys):
    data = bytearray((folder / "epoch-0002.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "epoch-0002.npz").write_bytes(data)
    assert Checkpoints(folder, IDENTITY).restore() == 2


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 1, "epoch": 2}', "null"])
def test_another_format_starts_again(folder, capsys, text):
    (folder / "state.json").write_text(text)
    assert Checkpoints(folder, IDENTITY).restore() == 0
    assert "starts again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["epoch", "best_epoch"])
def test_an_epoch_that_cannot_be_starts_again(folder, capsys, name):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: 10**400}))
    assert Checkpoints(folder, IDENTITY).restore() == 0
    assert "starts again" in capsys.readouterr().err


@pytest.mark.parametrize("other", [{"seed": 4, "split": "abc"}, {"seed": 3, "split": "abd"}])
def test_a_state_of_another_seed_or_split_is_refused(folder, other):
    with pytest.raises(UsageError, match="another run folder"):
        Checkpoints(folder, other).restore()


@pytest.mark.parametrize("torn", ["epoch-0003.npz", "state.json"])
def test_a_save_that_fails_leaves_the_state_before(folder, monkeypatch, torn):
    from keras_emo import io as files

    replace = files.os.replace

    def refuse(draft, path):
        if path.name == torn:
            raise OSError(28, "No space left on device")
        replace(draft, path)

    monkeypatch.setattr(files.os, "replace", refuse)
    checkpoints = Checkpoints(folder, IDENTITY)
    checkpoints.restore()
    with pytest.raises(EnvironmentFailure, match="No space left"):
        checkpoints.save(3, arrays_of(3), [0.9], {"loss": 0.1}, False)
    again = Checkpoints(folder, IDENTITY)
    assert again.restore() == 3
    check(again, 2)
    check(again, 1)
    assert not list(folder.glob(".part-*"))


def test_dropping(folder):
    (folder / ".part-left").write_bytes(b"half")
    drop_checkpoints(folder)
    assert [p.name for p in folder.iterdir()] == ["history.csv"]


def test_the_manifest_says_what_it_covers(folder):
    state = json.loads((folder / "state.json").read_text())
    assert state["identity"] == IDENTITY
    assert {f["name"] for f in state["files"].values()} == {"epoch-0001.npz", "epoch-0002.npz"}
    assert all(len(f["sha256"]) == 64 for f in state["files"].values())
