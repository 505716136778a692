"""Sessions of onnxruntime: their threads, and what they refuse."""

import math
import os

import pytest

from keras_emo.errors import BundleError, EnvironmentFailure
from keras_emo.features.mtcnn import PACKAGE_DATA
from keras_emo.inference import session


def test_session_refuses_no_threads():
    with pytest.raises(ValueError, match="threads"):
        session.open_session(PACKAGE_DATA / "pnet.onnx", threads=0)


def test_session_opens_bytes():
    opened = session.open_session((PACKAGE_DATA / "rnet.onnx").read_bytes(), threads=2)
    assert opened.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(BundleError):
        session.open_session(b"not a network", threads=1)


def test_idle_threads_sleep():
    options = session.open_session(PACKAGE_DATA / "rnet.onnx", threads=2).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2


def test_providers_are_not_replaced(monkeypatch):
    """Not even by onnxruntime, of one that it lists but cannot start."""
    path = PACKAGE_DATA / "pnet.onnx"
    names = ["NoSuchExecutionProvider"]
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: names)
    with (
        pytest.warns(UserWarning, match="NoSuch"),
        pytest.raises(EnvironmentFailure, match="could not start"),
    ):
        session.open_session(path, 1, providers=names)


def test_available_cores_within_the_machine():
    assert 1 <= session.available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", math.inf),
        ({"cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, "0::/a/b", 4.0),
        ({"a/cpu.max": "50000 100000", "cpu.max": "200000 100000"}, "0::/a", 0.5),
        ({"cpu.max": "200000 100000"}, "5:memory:/d\n0::/d", 2.0),
        ({}, "0::/x", math.inf),
        ({}, "", math.inf),
    ],
)
def test_cgroup_quota(tmp_path, files, membership, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert session._cgroup_quota(tmp_path, membership) == quota
