"""The application with decoders that answer by the bytes of an upload."""

import io
import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from keras_emo.errors import ClipError, EnvironmentFailure, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.predict import WindowPrediction
from keras_emo.media.recording import Media
from keras_emo.serve import service as service_module
from keras_emo.serve.app import create_app
from keras_emo.serve.log import LOGGER, configure_log
from keras_emo.serve.refusals import STATUS, Refusal, Refused
from keras_emo.serve.service import Service
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import UploadFolder
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

KEY = "0123456789abcdef"
SPEC = ClipSpec(FaceSpec(size_px=32), AudioSpec())
NAMES = ("face", "face_mask", "mfcc", "mfcc_mask")
UNIFORM = np.full(7, 1 / 7, np.float32)


def make_inputs() -> ClipInputs:
    return ClipInputs(
        np.zeros((1, 32, 32, 3), np.uint8), np.ones(1, bool), np.zeros(1, np.float32),
        np.zeros((1, 4), np.float32), np.zeros(SPEC.audio.shape, np.float32), 1.0, 1,
    )  # fmt: skip


class StubPredictor:
    """The face says angry, the voice disgust, both say fear."""

    def __init__(self, bundle):
        pass

    def warm_up(self):
        pass

    def run(self, feed):
        return {"probs": feed["a"] * 2}

    def answer(self, clips):
        picks = [2 if len(c.modalities) == 2 else c.modalities == ("voice",) for c in clips]
        return np.eye(7, dtype=np.float32)[np.array(picks, int)]


class StubWindows:
    window_s, hop_s, media, warnings, duration_s = 3.0, 1.0, Media(), ["a scratch"], 4.0

    def __init__(self, probs, parts):
        said = {"face": UNIFORM} if parts else None
        nothing = np.zeros((0, 4), np.float32)
        self.answers = iter([
            WindowPrediction(i, i + 3.0, "angry" if probs is not None else None, probs, ["face"],
                         [Reason.NO_AUDIO], None, nothing[:, 0], nothing, said)
            for i in range(2)
        ])  # fmt: skip

    def __iter__(self):
        return self.answers


class StubDecoder:
    """Does what the content of the file says."""

    gate = threading.Event()

    def prepare(self, path, wall_s=None):
        word = path.read_bytes().decode()
        if word == "defect":
            raise ZeroDivisionError("secret")
        if word == "wait":
            assert self.gate.wait(10)
        if word == "sleep":
            time.sleep(0.4)
        if word in set(Reason):
            raise ClipError(path, Reason(word), f"in {path} it says so")
        return make_inputs()

    def windows(self, path, window_s, hop_s, parts, wall_s):
        return StubWindows(None if path.read_bytes() == b"mute" else UNIFORM, parts)

    def close(self):
        pass


@pytest.fixture
def make(monkeypatch, tmp_path):
    """A client of a service with settings, and the service."""
    monkeypatch.setattr(service_module, "Predictor", StubPredictor)
    info = {
        "name": "stub",
        "inputs": [{"name": "a", "shape": ["batch", 2]}],
        "outputs": [{"name": "probs", "shape": ["batch", 2]}],
    }
    bundle = SimpleNamespace(
        info=info, inputs=NAMES, outputs=("probs",), spec=SPEC, modalities=("face", "voice")
    )
    StubDecoder.gate.clear()
    open_clients = []

    def build(decoder=StubDecoder, static=tmp_path / "none", ready=True, **settings):
        folder = UploadFolder(tmp_path)
        service = Service(bundle, Settings(**settings), decoder, folder)
        client = TestClient(
            create_app(service, static), base_url="http://localhost", raise_server_exceptions=False
        )
        client.__enter__()
        open_clients.append(client)
        if ready:
            wait_until(lambda: service.ready)
        return client, service

    yield build
    StubDecoder.gate.set()
    for client in open_clients:
        client.__exit__()
    assert not list(tmp_path.glob("keras_emo-uploads-*"))


def wait_until(condition, seconds=10.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def send(client, word="good", name="clip.mp4", **query):
    return client.post("/v1/predict", params=query, files={"file": (name, word.encode())})


def test_an_answer(make):
    client, service = make()
    answer = send(client, name="../films/clip.mp4")
    assert answer.status_code == 200
    data = answer.json()
    assert (data["path"], data["label"]) == ("clip.mp4", "fear")
    assert "probs_face" not in data
    assert [p.name for p in service.folder.path.iterdir()] == ["lock"]
    assert send(client, name="").json()["path"] is None
    data = send(client, parts=True).json()
    assert data["probs_face"]["angry"] == data["probs_voice"]["disgust"] == data["probs"]["fear"]


def test_a_timeline(make):
    client, _ = make()
    data = send(client, timeline=True, parts=True).json()
    assert data["schema"] == 1
    assert data["path"] == "clip.mp4"
    assert [w["start_s"] for w in data["windows"]] == [0, 1]
    assert data["windows"][0]["probs_voice"] is None
    assert sum(data["windows"][0]["probs_face"].values()) == pytest.approx(1, abs=1e-5)
    assert data["segments"][0]["end_s"] == 4.0
    assert data["warnings"] == ["a scratch"]
    assert "probs_face" not in send(client, timeline=True).json()["windows"][0]
    answer = send(client, "mute", timeline=True)
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == "no_modality"


def test_settings_of_a_timeline(make):
    client, _ = make()
    for query in (
        {"window_s": 1},
        {"timeline": "perhaps"},
        {"timeline": True, "window_s": 99},
        {"timeline": True, "window_s": "nan"},
        {"timeline": True, "hop_s": -1},
    ):
        answer = send(client, **query)
        assert answer.status_code == 400, query
        assert answer.json()["error"]["reason"] in ("bad_config", "bad_request")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_code(make, reason):
    client, _ = make()
    answer = send(client, str(reason))
    assert answer.status_code == STATUS.get(reason, 422)
    error = answer.json()["error"]
    assert error["reason"] == reason
    assert error["cause"] == "in the file it says so"


def test_codes():
    expected = {"not_media": 415, "no_face": 422, "timeout": 504, "decoder_crashed": 502,
                "upload_limit": 413, "slow_upload": 408, "overloaded": 503}  # fmt: skip
    for reason, code in expected.items():
        assert STATUS.get(reason, 422) == code
    assert set(Refused) <= set(STATUS)


def test_defects_are_told_without_their_text(make):
    client, service = make()
    stream = io.StringIO()
    configure_log(stream)
    try:
        answer = send(client, "defect")
    finally:
        LOGGER.handlers = [logging.NullHandler()]
    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == "internal"
    assert "secret" not in answer.text + stream.getvalue()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    defect = next(line for line in lines if line["event"] == "defect")
    assert defect["error"] == "ZeroDivisionError"
    assert any(step.startswith("test_server_app.py:") for step in defect["at"])
    assert defect["request"] == answer.headers["X-Request-ID"]
    assert send(client).status_code == 200
    assert service.decoders.n_busy == 0


def test_the_log_names_nobody(make):
    client, _ = make()
    stream = io.StringIO()
    configure_log(stream)
    try:
        send(client, "no_face", name="anna.mp4")
        client.get("/films/anna.mp4", headers={"X-Request-ID": "anna"})
        client.request("ANNA", "/v2")
    finally:
        LOGGER.handlers = [logging.NullHandler()]
    text = stream.getvalue()
    assert "anna" not in text.lower()
    assert "testclient" not in text
    first = json.loads(text.splitlines()[0])
    assert (first["route"], first["code"], first["reason"]) == ("/v1/predict", 422, "no_face")


def test_too_many_are_told_when_to_come_again(make):
    client, service = make(workers=1, queue=1)
    threads = [threading.Thread(target=send, args=(client, "wait")) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: service.admission.n_inside == 2 and service.decoders.n_busy == 1)
    assert "keras_emo_queue_length 1.0" in client.get("/metrics").text
    answer = send(client)
    assert answer.status_code == 503
    assert answer.json()["error"]["reason"] == "overloaded"
    assert int(answer.headers["Retry-After"]) >= 1
    StubDecoder.gate.set()
    for thread in threads:
        thread.join()
    assert send(client).status_code == 200


def test_the_time_is_up(make):
    client, service = make(workers=1, timeout_s=0.1)
    answer = send(client, "sleep")
    assert (answer.status_code, answer.json()["error"]["reason"]) == (504, "timeout")
    answer = send(client)  # the decoder is still at it
    assert answer.status_code == 504
    wait_until(lambda: service.decoders.n_busy == 0)
    assert send(client).status_code == 200


def test_a_decoder_is_not_begun_that_would_be_late(make, monkeypatch):
    client, service = make()
    monkeypatch.setattr(service_module, "_LEAST_S", 1e6)
    assert send(client).status_code == 504
    monkeypatch.undo()
    assert service.decoders.n_busy == 0


def test_readiness(make):
    gate = threading.Event()

    def make_slowly():
        assert gate.wait(10)
        return StubDecoder()

    client, service = make(make_slowly, ready=False)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/models/stub/ready").status_code == 503
    assert send(client).json()["error"]["reason"] == "not_ready"
    gate.set()
    wait_until(lambda: service.ready)
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/stub/ready").status_code == 200
    assert "keras_emo_ready 1.0" in client.get("/metrics").text
    service.drain()
    assert client.get("/v2/health/ready").status_code == 503
    answer = send(client)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "draining")
    assert "Retry-After" in answer.headers


def test_decoders_that_do_not_start(make):
    def fail():
        raise EnvironmentFailure("sandbox", Reason.WORKER_DIED, "no such luck")

    client, service = make(fail, ready=False)
    wait_until(lambda: service.failure is not None)
    assert not service.ready
    assert client.get("/v2/health/ready").status_code == 503


def test_tensors(make):
    client, _ = make()
    tensor = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    answer = client.post("/v2/models/stub/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == [2, 4]
    answer = client.post("/v2/models/stub/infer", json={"inputs": []})
    assert answer.status_code == 400
    assert "missing" in answer.json()["error"]
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/nothing"):
        assert client.get(path).status_code == 404
        assert isinstance(client.get(path).json()["error"], str)
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/models/stub").json()["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 2]}
    ]


def test_a_tensor_too_large(make):
    client, _ = make(max_tensor_bytes=100)
    answer = client.post("/v2/models/stub/infer", content=b"x" * 101)
    assert answer.status_code == 413


def test_metrics(make):
    client, _ = make()
    send(client)
    send(client, "decoder_crashed")
    client.get("/somewhere/else")
    text = client.get("/metrics").text
    for line in (
        'keras_emo_requests_total{code="200",route="/v1/predict"} 1.0',
        'keras_emo_requests_total{code="502",route="/v1/predict"} 1.0',
        'keras_emo_requests_total{code="404",route="other"} 1.0',
        'keras_emo_rejected_total{reason="decoder_crashed"} 1.0',
        "keras_emo_decoder_crashes_total 1.0",
        'keras_emo_batch_clips_bucket{le="1.0"} 1.0',
        'keras_emo_stage_seconds_count{stage="decode"} 1.0',
        'keras_emo_stage_seconds_count{stage="total"} 2.0',
        "keras_emo_queue_length 0.0",
    ):
        assert line in text.splitlines()


def test_the_key(make):
    client, _ = make(api_key=KEY)
    assert send(client).status_code == 401
    assert send(client).headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401
    assert client.get("/v2/health/live").status_code == 200
    client.headers["Authorization"] = f"Bearer {KEY}"
    assert send(client).status_code == 200
    description = client.get("/openapi.json").json()
    assert "APIKeyHeader" in description["components"]["securitySchemes"]


def test_other_sites_may_not_ask(make):
    client, _ = make()
    answer = client.get("/v2", headers={"Origin": "http://evil.example"})
    assert (answer.status_code, answer.json()) == (
        403,
        {"error": "forbidden: pages of other sites may not ask"},
    )
    assert client.get("/v2", headers={"Host": "evil.example"}).status_code == 403


def test_the_page_and_the_docs_load_nothing_from_elsewhere(make, tmp_path):
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>page</title>")
    (static / "assets" / "app.js").write_text("0")
    client, _ = make(static=static)
    page = client.get("/")
    assert "page" in page.text
    assert client.get("/assets/app.js").status_code == 200
    assert client.get("/../index.html").status_code in (200, 404)
    assert client.get("/nothing").json()["error"]["reason"] == "unknown_route"
    for path in ("/", "/docs", "/v2", "/nothing"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "http" not in policy
        assert client.get(path).headers["X-Content-Type-Options"] == "nosniff"
    docs = client.get("/docs").text
    assert "http" not in docs.replace("<!doctype html>", "")
    for name in ("docs/assets/swagger-ui.css", "docs/assets/swagger-ui-bundle.js", "docs/start.js"):
        assert name in docs
        assert client.get(f"/{name}").status_code == 200
    assert send(client).status_code == 200
    assert client.get("/v2").status_code == 200


def test_without_a_page(make):
    client, _ = make()
    assert client.get("/").status_code == 404


def test_a_connection_is_closed_over_an_unread_body(make):
    client, _ = make(max_upload_bytes=1000)
    answer = client.post("/v1/predict", files={"file": ("a", b"x" * 2000)})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert "connection" not in send(client).headers


def test_refusals_say_what_is_needed():
    assert Refusal(Refused.OVERLOADED, "x", 3).headers == {"Retry-After": "3"}
    assert Refusal(Reason.NO_FACE, "x").to_dict("/v2/models/m/infer") == {"error": "no_face: x"}


def test_who_has_gone_is_not_answered(make):
    client, service = make()

    async def gone():
        return True

    async def ask():
        upload = SimpleNamespace(path=Path("x"), name=None)
        await service.answer(upload, service_module.Asked(), gone)

    with pytest.raises(Refusal) as caught:
        client.portal.call(ask)
    assert caught.value.reason == "disconnected"
    assert service.decoders.n_busy == 0
    assert send(client).status_code == 200


def test_missing_packages_are_one_line():
    script = """
import sys
import importlib.util
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "fastapi" else known(name, *a)
from keras_emo.cli.main import main
sys.exit(main(["serve"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 6
    assert done.stderr == (
        "error: 'fastapi': missing_package: not installed; pip install -r requirements-serve.txt\n"
    )


def test_wrong_methods_say_which_are_right(make, tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "icon.svg").write_text("<svg/>")
    client, _ = make(static=tmp_path)
    assert client.get("/icon.svg").text == "<svg/>"
    for path, allowed in (("/v1/predict", {"POST"}), ("/", {"GET", "HEAD"})):
        answer = client.options(path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == allowed
