"""keras-emo inspect and verify, of the shipped bundle and of altered ones."""

import json
import shutil
from pathlib import Path

import pytest

from keras_emo import cli
from keras_emo.cli.inspect import describe
from keras_emo.inference.bundle import load_bundle

SHIPPED = Path(__file__).parents[2] / "saved_models" / "default"


@pytest.fixture
def change(tmp_path):
    """A copy of the shipped bundle whose description was changed."""
    folder = shutil.copytree(SHIPPED, tmp_path / "bundle")
    path = folder / "bundle.json"
    before = path.read_text(encoding="utf-8")

    def apply(**entries):
        info = json.loads(before) | entries
        path.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))
        return folder

    return apply


def test_text(capsys):
    assert cli.main(["inspect", str(SHIPPED)]) == 0
    out, err = capsys.readouterr()
    info = json.loads((SHIPPED / "bundle.json").read_text())
    folds = info["metrics"]["folds"]
    assert err == ""
    for expected in (
        f"default: {info['model']}, {info['preset']} preset",
        f"{info['parameters']:,} parameters, {info['precision']}",
        f"license: {info['licence']}",
        f"labels: {', '.join(info['labels'])}",
        "64 MFCC of 64 mel bands, 0 to 8000 Hz, every 10.7 ms from 42.7 ms: 64 x 516",
        "in   face       float32  batch x frames x 64 x 64 x 3  crops, RGB, 0 to 255",
        "training    20 speakers  01, 02,",
        "accuracy           {:.1f} ({:.1f} to {:.1f})\n".format(
            *(100 * v for v in (folds["accuracy"], *folds["interval_95"]["accuracy"]))
        ),
        "female, accuracy",
        info["files"]["model.onnx"]["sha256"][:16],
        f"onnxruntime {info['versions']['onnxruntime']}",
    ):
        assert expected in out, expected


def test_json(capsys):
    assert cli.main(["inspect", str(SHIPPED), "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    info = json.loads((SHIPPED / "bundle.json").read_text())
    assert shown["folder"] == str(SHIPPED)
    assert shown["bytes"] == sum((SHIPPED / name).stat().st_size for name in info["files"])
    info["license"], info["quantization"] = info.pop("licence"), info.pop("quantisation")
    info["averaged"] = info.pop("soup")
    info["quantization"]["references"] = info["quantization"].pop("judges")
    assert {k: shown[k] for k in info} == info


def test_a_bundle_with_few_entries(change):
    bundle = load_bundle(
        change(metrics={}, parity={}, licence=None, preset=None, parameters=None, precision=None)
    )
    text = "\n".join(describe(bundle))
    assert "unknown preset" in text
    assert "license: unknown" in text
    assert "speakers\n  none\n" in text


def test_a_name_cannot_steer_the_terminal(change, capsys):
    assert cli.main(["inspect", str(change(name="\x1b[31mred\n"))]) == 0
    assert capsys.readouterr().out.startswith("?[31mred?: fusion_ensemble_tdnn")


def test_a_bundle_that_is_refused_is_one_line(change, tmp_path, capsys):
    for folder in (tmp_path / "none", change(metrics={"test": {}}), change(versions=3)):
        assert cli.main(["inspect", str(folder)]) == 5
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)


def test_verify_needs_golden_values(change, capsys):
    info = json.loads((SHIPPED / "bundle.json").read_text())
    files = {name: entry for name, entry in info["files"].items() if name != "golden.npz"}
    assert cli.main(["verify", str(change(files=files))]) == 5
    assert "no golden values" in capsys.readouterr().err
