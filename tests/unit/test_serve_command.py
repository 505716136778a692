"""keras-emo serve up to the start of the service."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from keras_emo import cli
from keras_emo.cli import serve
from keras_emo.serve import process


@pytest.fixture
def served(monkeypatch) -> list:
    """Bundle and settings of each service that was started."""
    calls: list = []
    monkeypatch.delenv("KERAS_EMO_API_KEY", raising=False)
    monkeypatch.setattr(serve, "load_bundle", lambda folder: folder)
    monkeypatch.setattr(process, "serve", lambda *args: calls.append(args) or 0)
    return calls


def test_options_become_settings(served, tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    options = (
        "--bundle b --host 0.0.0.0 --port 0 --workers 3 --queue 0 --max-upload-mb 2 --timeout-s 2"
    )
    assert cli.main(["serve", *options.split(), "--api-key-file", str(key)]) == 0
    ((bundle, settings),) = served
    assert str(bundle) == "b"
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 0, 3)
    assert (settings.queue, settings.max_upload_bytes, settings.timeout_s) == (0, 2_000_000, 2)
    assert settings.api_key == "0123456789abcdef"
    monkeypatch.setattr(serve, "available_cores", lambda: 5)
    assert cli.main(["serve"]) == 0
    assert served[1][1].workers == 5


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--port", "70000"], "port is 70000, it can be from 0 to 65535"),
        (["--timeout-s", "1e7"], "timeout_s is 10000000.0"),
        (["--host", "0.0.0.0"], "key"),
    ],
)
def test_invalid_settings_are_one_line(options, cause, served, capsys):
    assert cli.main(["serve", *options]) == 2
    err = capsys.readouterr().err
    assert cause in err
    assert err.count("\n") == 1
    assert not served
