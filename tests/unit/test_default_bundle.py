"""The bundle that is shipped is whole and answers as it did when it was exported."""

from pathlib import Path

import numpy as np

from keras_emo.runtime.bundle import GOLDEN, load_bundle
from keras_emo.runtime.predictor import Predictor

FOLDER = Path(__file__).resolve().parents[2] / "saved_models" / "default"


def test_golden_values():
    predictor = Predictor(FOLDER, threads=1)
    with np.load(FOLDER / GOLDEN, allow_pickle=False) as data:
        feed = {k[3:]: data[k] for k in data if k.startswith("in_")}
        expected = {k[4:]: data[k] for k in data if k.startswith("out_")}
    for name, value in predictor.run(feed).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)


def test_card_says_licence_and_figures():
    bundle = load_bundle(FOLDER)
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert bundle.info["licence"] == "CC-BY-NC-SA-4.0"
    assert "CC-BY-NC-SA-4.0" in card
    assert f"{100 * bundle.info['metrics']['test']['accuracy']:.1f}" in card
