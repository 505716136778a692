"""The numbers that the page's transforms are tested with are those of today's keras_emo."""

import json
import runpy
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).resolve().parents[2] / "web" / "tests" / "local" / "make_vectors.py"


def check_near(found, expected, at: str = "") -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected), at
        for key in expected:
            check_near(found[key], expected[key], f"{at}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for i, value in enumerate(expected):
            check_near(found[i], value, f"{at}/{i}")
    elif isinstance(expected, float):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-5, err_msg=at)
    else:
        assert found == expected, at


def test_the_vectors_are_up_to_date():
    """Where they are not: python web/tests/local/make_vectors.py, then make web-test."""
    made = json.loads(json.dumps(runpy.run_path(str(SCRIPT))["make_vectors"]()))
    check_near(made, json.loads(SCRIPT.with_name("vectors.json").read_text()))
