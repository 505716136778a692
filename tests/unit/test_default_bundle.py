"""The bundle that is shipped is whole and answers as it did when it was exported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_emo.cli import main
from keras_emo.errors import ExitCode
from keras_emo.inference.bundle import GOLDEN, load_bundle
from keras_emo.io import digest_file

FOLDER = Path(__file__).resolve().parents[2] / "saved_models" / "default"


def test_the_card_has_license_and_figures():
    bundle = load_bundle(FOLDER)
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert bundle.manifest.license == "CC-BY-NC-SA-4.0"
    assert "CC-BY-NC-SA-4.0" in card
    for evaluation in bundle.manifest.metrics.values():
        assert f"{100 * evaluation.metrics.accuracy:.1f}" in card


def test_verify_finds_it_whole(capsys):
    assert main(["verify", str(FOLDER)]) == ExitCode.OK
    assert "golden values within" in capsys.readouterr().out


@pytest.mark.parametrize(("moved", "code"), [(0.01, ExitCode.OK), (0.03, ExitCode.BUNDLE_REFUSED)])
def test_verify_allows_what_another_processor_rounds(tmp_path, capsys, moved, code):
    copy = tmp_path / "copy"
    shutil.copytree(FOLDER, copy)
    golden = copy / GOLDEN
    with np.load(golden, allow_pickle=False) as data:
        arrays = dict(data)
    arrays["out_probs"] = arrays["out_probs"] + np.float32(moved)
    np.savez_compressed(golden, **arrays)
    info = json.loads((copy / "bundle.json").read_text(encoding="utf-8"))
    assert info["precision"] == "int8"
    info["files"][GOLDEN] = {"sha256": digest_file(golden), "bytes": golden.stat().st_size}
    (copy / "bundle.json").write_text(json.dumps(info), encoding="utf-8")
    assert main(["verify", str(copy)]) == code
    assert ("differ" in capsys.readouterr().err) == bool(code)
