import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_emo import __version__
from keras_emo.cli import evaluate, live, predict
from keras_emo.cli import main as cli
from keras_emo.cli.run import Terminated, require, run_command
from keras_emo.data.corpus import Corpus, Sample
from keras_emo.errors import ClipError, EnvironmentFailure, Reason
from keras_emo.inference.manifest import Split
from keras_emo.inference.results import Damage, FaceCount, Prediction
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec


class StubModel:
    """Predicts by a clip's name: bad is refused, torn damaged, stop the user's Ctrl-C."""

    def __init__(self, *_, **__):
        split = Split(("2",), (), ("1",))
        self.bundle = SimpleNamespace(
            manifest=SimpleNamespace(name="stub", corpus=SimpleNamespace(split=split)),
            spec=ClipSpec(FaceSpec(size_px=32)),
            modalities=["face", "voice"],
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def predict(self, source):
        path = source.path if isinstance(source, ClipSource) else source
        if path.stem == "bad":
            raise ClipError(path, Reason.EMPTY_FILE, "the file has no bytes")
        if path.stem == "stop":
            raise KeyboardInterrupt
        torn = path.stem == "torn"
        return Prediction(
            str(path), "happy", 1 / 7, dict.fromkeys(EMOTIONS, 1 / 7), ("face", "voice"), (),
            FaceCount(4, 4), 1.0, Damage(3 if torn else 0), ("3 damaged packets",) * torn,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    for command in (predict, live, evaluate):
        monkeypatch.setattr(command, "load", StubModel)
    monkeypatch.setattr(evaluate, "load_bundle", lambda folder: StubModel().bundle)


def test_damage_is_partial(capsys):
    assert cli.main(["predict", "a.mp4", "--format", "csv"]) == 0
    assert cli.main(["predict", "a.mp4", "torn.mp4", "--format", "csv"]) == 4
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()[2:]))
    assert [r["warnings"] for r in rows] == ["", "3 damaged packets"]
    assert err == "warning: 'torn.mp4': 3 damaged packets\n"


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_what_is_done_is_delivered_on_interrupt(form, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["predict", "a.mp4", "stop.mp4", "b.mp4", "--format", form, "--out", str(out)]
    assert cli.main(command) == 130
    assert "a.mp4" in out.read_text()
    assert "b.mp4" not in out.read_text()
    assert capsys.readouterr().err == "stopped\n"
    assert os.listdir(tmp_path) == ["out"]


def test_out_is_checked_before_work_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(StubModel, "__init__", lambda *_: pytest.fail("work began"))
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "below"):
        assert cli.main(["predict", "a.mp4", "--out", str(out)]) == 6
    assert capsys.readouterr().err.count("write_failed") == 2


def test_odd_names_are_written(tmp_path):
    out = tmp_path / "out.json"
    odd = os.fsdecode(b"\xff.mp4")
    assert cli.main(["predict", odd, "--format", "json", "--out", str(out)]) == 0
    assert json.loads(out.read_text())[0]["path"] == odd


def test_problems_of_a_folder(tmp_path, capsys):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.m4v").touch()
    assert cli.main(["predict", str(tmp_path)]) == 4
    assert "b.m4v': format_not_allowed" in capsys.readouterr().err
    (tmp_path / "a.mp4").unlink()
    assert cli.main(["predict", str(tmp_path)]) == 3
    (tmp_path / "b.m4v").unlink()
    assert cli.main(["predict", str(tmp_path)]) == 2


@pytest.mark.parametrize("threads", ["-1", "x"])
def test_threads_of_no_use(threads):
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", "a.mp4", "--threads", threads])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("names", "code"),
    [(["a", "b"], 0), (["a", "torn"], 4), (["a", "bad"], 4), (["bad"], 3)],
)
def test_evaluate(names, code, monkeypatch, tmp_path):
    samples = [
        Sample(n, "stub", "1", "male", EMOTIONS[3], ClipSource(video=Path(f"{n}.mp4")))
        for n in names
    ]
    monkeypatch.setattr(evaluate, "read_corpus", lambda *_: Corpus("stub", samples))
    out = tmp_path / "scores.json"
    assert cli.main(["evaluate", "--data", "x", "--json", str(out)]) == code
    figures = json.loads(out.read_text())
    assert figures["n_degraded"] == names.count("torn")
    assert figures["n_abstained"] == names.count("bad")


def run_failing(error: BaseException) -> int:
    def work() -> int:
        raise error

    return run_command(work)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ClipError("a", Reason.NO_FACE, "none"), 3, "error: 'a': no_face: none"),
        (EnvironmentFailure("disk", Reason.WRITE_FAILED, "full\nreally"), 6,
         "error: 'disk': write_failed: full really"),
        (ModuleNotFoundError("No module", name="keras.x"), 6,
         "error: 'keras': missing_package: No module; install keras_emo with the extra train, "
         "or pip install -r requirements.txt"),
        (OSError(28, "No space left", "f"), 6, "error: 'f': write_failed: No space left"),
        (BrokenPipeError(), 0, ""),
        (KeyboardInterrupt(), 130, "stopped"),
        (Terminated(), 143, "stopped"),
    ],
)  # fmt: skip
def test_failures_are_one_line(error, code, line, capsys):
    assert run_failing(error) == code
    assert capsys.readouterr().err == (f"{line}\n" if line else "")


def test_bugs_are_not_hidden():
    with pytest.raises(ImportError):
        run_failing(ImportError("x", name="keras_emo.core"))


def test_sigterm_ends_the_work_and_its_handler_is_restored(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def work() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("still running")

    assert run_command(work) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped\n"


def test_a_missing_package_is_reported_before_the_work():
    require("json", "numpy")
    with pytest.raises(EnvironmentFailure, match="pip install that") as caught:
        require("numpy", "no_such_package", how="pip install that")
    assert (caught.value.path, caught.value.reason) == ("no_such_package", Reason.MISSING_PACKAGE)


def python(script: str, **options) -> subprocess.CompletedProcess:
    given = {"capture_output": True, "text": True} | options
    return subprocess.run([sys.executable, "-c", script], **given)


def test_full_disk_behind_stdout():
    script = "from keras_emo.cli.run import run_command as r; import sys; "
    script += "sys.exit(r(lambda: print('x') or 0))"
    with open("/dev/full", "w") as full:
        done = python(script, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr.startswith("error: 'output': write_failed: No space")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", cli.PACKAGES)
def test_a_missing_package_is_one_line(package):
    script = f"import sys; sys.modules[{package!r}] = None; from keras_emo.cli.main import main; "
    done = python(script + "sys.exit(main(['predict', 'a.mp4']))")
    assert done.returncode == 6
    assert done.stderr.startswith(f"error: '{package}': missing_package: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["predict"], ["live"], ["verify"]])
def test_help_needs_no_package(arguments):
    script = "import sys; from keras_emo.cli.main import main\n"
    script += f"try: main([*{arguments}, '--help'])\nexcept SystemExit: pass\n"
    script += "print(sorted({'numpy', 'cv2', 'av', 'onnxruntime'} & set(sys.modules)))"
    done = python(script)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "130 stopped by Ctrl-C" in " ".join(done.stdout.split())


def test_every_command_has_its_options():
    """Also train and export, which train.py and export.py share."""
    given = {
        "predict": ["a.mp4"], "live": ["0"], "evaluate": ["--data", "x"],
        "preprocess": ["--data", "x"], "train": ["--data", "x", "--out", "y"],
        "export": ["--run", "x", "--model", "all", "--out", "y"], "verify": [], "inspect": [],
        "serve": [],
    }  # fmt: skip
    assert given.keys() == cli.COMMANDS.keys()
    for command, arguments in given.items():
        for parser in (cli.build_parser(), cli.build_parser(command)):
            options = parser.parse_args([command, *arguments])
            assert options.function.__module__ == f"keras_emo.cli.{command}"


def test_without_a_command(capsys):
    for arguments in ([], ["no-such"], ["--no-such"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"keras_emo {__version__}\n"


def test_a_missing_provider_is_an_error(capsys, monkeypatch):
    monkeypatch.undo()  # the real model
    for command in (["predict", "a.mp4"], ["live", "0"]):
        assert cli.main([*command, "--provider", "NoSuchProvider"]) == 6
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("error: 'NoSuchProvider': missing_package: ")
        assert "CPUExecutionProvider" in err
