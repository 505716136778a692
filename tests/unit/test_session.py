"""Sessions of onnxruntime: their threads, and what they refuse."""

import os

import numpy as np
import pytest

from keras_emo.errors import BundleError
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


def test_idle_threads_sleep_by_default():
    image = {"image": np.zeros((2, 24, 24, 3), np.float32)}
    calm, keen = (
        session.open_session(PACKAGE_DATA / "rnet.onnx", threads=2, allow_spinning=spinning)
        for spinning in (False, True)
    )
    for opened, expected in ((calm, "0"), (keen, "1")):
        options = opened.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == expected
        assert options.intra_op_num_threads == 2
    for a, b in zip(calm.run(None, image), keen.run(None, image), strict=True):
        np.testing.assert_array_equal(a, b)


def test_available_cores_within_the_machine():
    assert 1 <= session.available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "membership", "quota"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, "0::/a/b", 4.0),
        ({"a/cpu.max": "50000 100000", "cpu.max": "200000 100000"}, "0::/a", 0.5),
        (
            {
                "cpu,cpuacct/d/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/d/cpu.cfs_period_us": "100000",
            },
            "5:memory:/d\n4:cpu,cpuacct:/d\n0::/d",
            2.0,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
        ({}, "0::/x", None),
        ({}, "", None),
    ],
)
def test_cgroup_quota(tmp_path, files, membership, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert session._cgroup_quota(tmp_path, membership) == quota
