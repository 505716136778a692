"""keras-emo around its commands: options, signals, packages, failures as one line."""

import os
import signal
import subprocess
import sys

import pytest

from keras_emo import __version__, cli
from keras_emo.cli.run import Terminated, run_command
from keras_emo.errors import ClipError, EnvironmentFailure, Reason


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
    assert run_command(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped\n"


SCALE = ["predict", "a.mp4", "--format", "parquet", "--out", "o"]


@pytest.mark.parametrize(
    ("command", "package", "how"),
    [
        *((["predict", "a.mp4"], package, "requirements.txt") for package in cli.PACKAGES),
        (SCALE, "pyarrow", "requirements-scale.txt"),
        ([*SCALE, "--engine", "ray"], "ray", "requirements-scale.txt"),
        (["preprocess", "--data", "d", "--engine", "ray"], "ray", "requirements-scale.txt"),
        (["serve"], "fastapi", "requirements-serve.txt"),
    ],
)
def test_a_missing_package_is_one_line(command, package, how, monkeypatch, capsys):
    """Reported before the work begins."""
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(command) == 6
    err = capsys.readouterr().err
    assert err.startswith(f"error: '{package}': missing_package: ")
    assert err.endswith(f"{how}\n")
    assert err.count("\n") == 1


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


@pytest.mark.parametrize("arguments", [[], ["predict"]])
def test_help_needs_no_package(arguments):
    script = "import sys; from keras_emo.cli import main\n"
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


@pytest.mark.parametrize(
    "arguments",
    [[], ["no-such"], ["--no-such"], ["predict", "a.mp4", "--threads", "-1"],
     ["serve", "--max-upload-mb", "0"], ["serve", "--timeout-s", "-1"]],
)  # fmt: skip
def test_wrong_options(arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"keras_emo {__version__}\n"


def test_a_missing_provider_is_an_error(capsys):
    for command in (["predict", "a.mp4"], ["live", "0"]):
        assert cli.main([*command, "--provider", "NoSuchProvider"]) == 6
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("error: 'NoSuchProvider': missing_package: ")
        assert "CPUExecutionProvider" in err
