"""keras-emo serve as a process of its own, for the tests of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx2")
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models" / "default"
COMMAND = "-m keras_emo serve --workers 1 --bundle"
SERVE = (sys.executable, *COMMAND.split(), str(BUNDLE))


class Running:
    """A service on a free port. folder: where its uploads are. first: its first readiness."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        command: Sequence[str] = SERVE,
        cwd: Path | None = None,
        **environment: str,
    ):
        self.folder, self.log = folder, folder / "log"
        self.process = subprocess.Popen(
            [*command, "--port", "0", *options], stdout=subprocess.PIPE, stderr=self.log.open("w"),
            text=True, cwd=cwd, env=os.environ | {"TMPDIR": str(folder)} | environment,
        )  # fmt: skip
        try:
            self._wait_until_ready()
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+))\n", line)
        assert found, line + self.log.read_text()
        self.url, self.port = found[1], int(found[2])
        self.first = self.get("/v2/health/ready").status_code
        wait_until(lambda: self.get("/v2/health/ready").status_code == 200)

    def get(self, path: str, **more):
        return httpx.get(self.url + path, timeout=60, **more)

    def send(self, content: bytes, path="/v1/predict", name="clip.mp4", **more):
        return httpx.post(self.url + path, files={"file": (name, content)}, timeout=60, **more)

    def uploads(self) -> list[Path]:
        return [p for p in self.folder.glob("keras_emo-uploads-*/*") if p.name != "lock"]

    def child(self) -> int:
        """Of the only decoder."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        (pid,) = {int(p) for task in tasks for p in task.read_text().split()}
        return pid

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith(name))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_until(condition, seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def check_equal(found: dict, expected: dict) -> None:
    """The same but for the path and the last digit of numbers."""
    found, expected = found | {"path": None}, expected | {"path": None}
    assert flatten(found) == pytest.approx(flatten(expected), abs=2e-6)


def flatten(data, name="") -> dict:
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return {k: v for key, x in items for k, v in flatten(x, f"{name}/{key}").items()}
    return {name: data}
