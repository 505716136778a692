"""keras-emo serve as a process: uploads of every kind, overload, crashes, graceful shutdown."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from keras_emo import load
from keras_emo.cli import main as run_cli
from keras_emo.inference.batch import collate_clips

from .service import BUNDLE, Running, check_equal, httpx, wait_until

pytest.importorskip("fastapi")
KEY = "a key of the tests' own"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BUNDLE.is_dir(), reason="the default bundle is not here"),
]
PART = b'--line\r\nContent-Disposition: form-data; name="file"; filename="clip.mp4"\r\n\r\n'


@pytest.fixture
def clip(drawn) -> Path:
    return drawn


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    running = Running(folder, "--max-upload-mb", "2")
    yield running
    running.end()


@pytest.fixture
def start(tmp_path):
    started = []

    def build(*options, **environment):
        started.append(Running(tmp_path, *options, **environment))
        return started[-1]

    yield build
    for running in started:
        running.end()


def reason_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]


@pytest.mark.parametrize("query", ["", "timeline=true&window_s=1&hop_s=0.5"])
def test_the_response_is_the_command_s_output(server, clip, query, tmp_path):
    options = ["--timeline", "--window-s", "1", "--hop-s", "0.5"] if query else []
    out = tmp_path / "out.json"
    command = ["predict", str(clip), "--bundle", str(BUNDLE), "--format", "json"]
    assert run_cli([*command, "--out", str(out), *options]) in (0, 4)
    (expected,) = json.loads(out.read_text())
    response = server.send(clip.read_bytes(), f"/v1/predict?{query}", name="a/b/测试.mp4")
    assert response.status_code == 200
    assert response.json()["path"] == "测试.mp4"
    check_equal(response.json(), expected)
    with_parts = server.send(clip.read_bytes(), f"/v1/predict?{query}&parts=true").json()
    first = with_parts["windows"][0] if query else with_parts
    assert first["modalities"]
    for modality in first["modalities"]:
        assert sum(first[f"probs_{modality}"].values()) == pytest.approx(1, abs=1e-5)
    assert server.uploads() == []


def test_bad_recordings(server, clip):
    whole = clip.read_bytes()
    for content, code, reason in (
        (b"", 422, "empty_file"),
        (random.Random(0).randbytes(5000), 415, "not_media"),
        (whole[: len(whole) // 2], 422, "truncated_container"),
    ):
        response = server.send(content)
        assert reason_of(response) == (code, reason)
        assert str(server.folder) not in response.text
    assert server.uploads() == []
    assert server.send(whole).status_code == 200


def test_an_oversize_body_of_unknown_length(server):
    def blocks():
        yield PART
        for _ in range(60):
            yield b"x" * 50_000

    kind = {"Content-Type": "multipart/form-data; boundary=line"}
    response = httpx.post(server.url + "/v1/predict", content=blocks(), headers=kind, timeout=30)
    assert reason_of(response) == (413, "upload_limit")
    assert server.uploads() == []


@contextmanager
def stopped_decoder(running: Running, clip: Path, **headers: str):
    """Send the clip to a decoder that is stopped; gives its process id and the responses."""
    child, responses = running.child(), []
    os.kill(child, signal.SIGSTOP)

    def send() -> None:
        with suppress(httpx.TransportError):
            responses.append(running.send(clip.read_bytes(), headers=headers))

    thread = threading.Thread(target=send)
    thread.start()
    wait_until(lambda: len(running.uploads()) == 1)
    yield child, responses
    thread.join()


def test_a_decoder_that_is_killed(server, clip):
    with stopped_decoder(server, clip) as (child, responses):
        wait_until(lambda: server.metric("keras_emo_queue_length") == 0)
        os.kill(child, signal.SIGKILL)
    assert reason_of(responses[0]) == (502, "decoder_crashed")
    assert server.send(clip.read_bytes()).status_code == 200
    assert server.child() != child
    assert server.metric("keras_emo_decoder_crashes_total") == 1


def test_a_standard_client_of_the_inference_protocol(server, clip):
    client_module = pytest.importorskip("tritonclient.http")
    model = load(BUNDLE)
    bundle = model.bundle
    feed = collate_clips([model.prepare(clip)], bundle.inputs, bundle.manifest.frames, bundle.spec)
    expected = model.run(feed)
    with client_module.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("default")
        assert [i["name"] for i in client.get_model_metadata("default")["inputs"]] == list(feed)
        for binary in (True, False):
            inputs = []
            for name, array in feed.items():
                tensor = client_module.InferInput(name, list(array.shape), "FP32")
                tensor.set_data_from_numpy(array, binary_data=binary)
                inputs.append(tensor)
            wanted = [client_module.InferRequestedOutput("probs", binary_data=binary)]
            result = client.infer("default", inputs, outputs=None if binary else wanted)
            np.testing.assert_allclose(result.as_numpy("probs"), expected["probs"], atol=1e-6)


def test_the_openapi_description_holds(server):
    """schemathesis: whatever the description allows has a response that it describes."""
    pytest.importorskip("schemathesis")
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json",
         "--max-examples", "8", "--seed", "1", "--phases", "examples,coverage,fuzzing",
         # what is a recording, or fits the network, no description can say
         "--exclude-checks", "positive_data_acceptance",
         "--max-time", "14", "--request-timeout", "30", "--no-color", "--max-failures", "5"],
        capture_output=True, text=True, timeout=100, cwd=server.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert server.get("/v2/health/ready").status_code == 200


def test_the_start_and_the_log(server):
    assert server.first == 503  # its readiness at the start
    assert server.get("/v2/health/live").status_code == 200
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {line["event"] for line in lines} == {"ready", "request"}
    assert "mp4" not in server.log.read_text()
    assert "127.0.0.1" not in server.log.read_text()


def test_sigterm_finishes_what_was_accepted(start, clip):
    running = start()
    with stopped_decoder(running, clip) as (child, responses):
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.get("/v2/health/ready").status_code == 503)
        assert reason_of(running.send(clip.read_bytes())) == (503, "draining")
        os.kill(child, signal.SIGCONT)
    assert responses[0].status_code == 200
    assert running.process.wait(timeout=60) == 0
    assert list(running.folder.glob("keras_emo-uploads-*")) == []


@pytest.mark.parametrize("way", ["deadline", "second signal"])
def test_requests_that_do_not_end(start, clip, way):
    running = start("--drain-s", "0.5" if way == "deadline" else "600", KERAS_EMO_API_KEY=KEY)
    with stopped_decoder(running, clip, Authorization=f"Bearer {KEY}") as (child, responses):
        running.process.send_signal(signal.SIGTERM)
        if way == "second signal":
            wait_until(lambda: running.get("/v2/health/ready").status_code == 503)
            running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=60) == (4 if way == "deadline" else 143)
    assert [r.status_code for r in responses] in ([], [500])
    wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert list(running.folder.glob("keras_emo-uploads-*")) == []
    assert KEY not in running.log.read_text()
