"""The application, with decoders that act on the bytes of an upload."""

import io
import json
import logging
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import numpy as np
import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from keras_emo.errors import ClipError, EnvironmentFailure, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.manifest import TensorSpec
from keras_emo.inference.predict import ReadState, TrackedWindow, WindowStream
from keras_emo.labels import EMOTIONS
from keras_emo.serve import service as service_module
from keras_emo.serve.app import create_app
from keras_emo.serve.monitoring import LOGGER, configure_log
from keras_emo.serve.refusals import STATUS, Refusal, RefusalReason
from keras_emo.serve.service import PredictOptions, Service
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import Upload, UploadFolder
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec

KEY = "0123456789abcdef"
SPEC = ClipSpec(FaceSpec(size_px=32), AudioSpec())
NAMES = ("face", "face_mask", "mfcc", "mfcc_mask")
TENSOR = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def make_inputs() -> ClipInputs:
    return ClipInputs(
        np.zeros((1, 32, 32, 3), np.uint8), np.ones(1, bool), np.zeros(1, np.float32),
        np.zeros((1, 4), np.float32), np.zeros(SPEC.audio.shape, np.float32), 1.0, 1,
    )  # fmt: skip


class StubModel:
    """Predicts angry from the face, disgust from the voice, fear from both."""

    def __init__(self, bundle, providers):
        pass

    def warm_up(self):
        pass

    def run(self, feed):
        return {"probs": feed["a"] * 2}

    def compute_probs(self, clips):
        picks = [2 if len(c.modalities) == 2 else list(c.modalities) == ["voice"] for c in clips]
        return np.eye(7, dtype=np.float32)[np.array(picks, int)]


class StubDecoder:
    """Does what the content of the file says."""

    gate = threading.Event()

    def prepare(self, path, wall_s=None):
        word = path.read_bytes().decode()
        if word == "defect":
            raise ZeroDivisionError("secret")
        if word == "wait":
            assert self.gate.wait(60)
        if word in set(Reason):
            raise ClipError(path, Reason(word), f"the cause lies in {path}")
        return make_inputs()

    def windows(self, path, window_s, hop_s, parts, wall_s):
        """Two windows, of which the first abstains; both do for "mute"."""
        probs = dict.fromkeys(EMOTIONS, 0.1) | {"happy": 0.4}
        mute = path.read_bytes() == b"mute"
        none = TrackedWindow(0.0, 3.0, None, None, None, (), (Reason.NO_FACE,), None)
        some = TrackedWindow(
            1.0, 4.0, "happy", 0.4, probs, ("face",), (Reason.NO_AUDIO,), None,
            probs if parts else None,
        )  # fmt: skip
        state = ReadState(4.0, 4.0, warnings=("a scratch",))
        steps = [(none, state), (none if mute else some, state)]
        return WindowStream(path, 3.0, 1.0, iter(steps))

    def close(self):
        pass


@pytest.fixture
def make(monkeypatch, tmp_path):
    """A client of a service with settings, and the service."""
    monkeypatch.setattr(service_module, "Model", StubModel)
    manifest = SimpleNamespace(
        name="stub",
        inputs=(TensorSpec("a", "float32", ("batch", 2)),),
        outputs=(TensorSpec("probs", "float32", ("batch", 2)),),
    )
    bundle = SimpleNamespace(
        manifest=manifest, inputs=NAMES, outputs=("probs",), spec=SPEC, modalities=("face", "voice")
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


def wait_until(condition, seconds=60.0):
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def send(client, word="good", name="clip.mp4", **query):
    return client.post("/v1/predict", params=query, files={"file": (name, word.encode())})


def reason_of(response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]


def test_a_clip(make):
    client, service = make()
    response = send(client, name="../films/clip.mp4")
    assert response.status_code == 200
    data = response.json()
    assert (data["path"], data["label"], data["confidence"]) == ("clip.mp4", "fear", 1.0)
    assert data["probs_face"] is None
    assert "connection" not in response.headers
    assert [p.name for p in service.folder.path.iterdir()] == ["lock"]
    assert send(client, name="folder/").json()["path"] == "upload"
    assert reason_of(send(client, name="")) == (400, "bad_request")  # a field, not a file
    data = send(client, parts=True).json()
    assert data["probs_face"]["angry"] == data["probs_voice"]["disgust"] == data["probs"]["fear"]


def test_a_timeline(make):
    client, _ = make()
    data = send(client, timeline=True, parts=True).json()
    assert (data["schema"], data["path"], data["warnings"]) == (1, "clip.mp4", ["a scratch"])
    assert [w["start_s"] for w in data["windows"]] == [0, 1]
    assert data["windows"][0]["probs"] is None
    assert data["windows"][1]["probs_face"]["happy"] == 0.4
    assert data["windows"][1]["probs_voice"] is None
    # a window speaks for a hop about its middle, and at the end for what is left
    assert data["segments"] == [
        {"start_s": 0.0, "end_s": 2.0, "label": None, "confidence": None},
        {"start_s": 2.0, "end_s": 4.0, "label": "happy", "confidence": 0.4},
    ]
    assert send(client, timeline=True).json()["windows"][1]["probs_face"] is None
    assert reason_of(send(client, "mute", timeline=True)) == (422, "no_modality")


def test_the_openapi_schema_describes_the_responses(make):
    client, _ = make()
    text = client.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    assert set(re.findall('"#/components/schemas/([^"]+)"', text)) <= set(schemas)
    clip, timeline = send(client).json(), send(client, timeline=True).json()
    error, model = send(client, "no_face").json(), client.get("/v2/models/stub").json()
    inference = client.post("/v2/models/stub/infer", json={"inputs": [TENSOR], "id": "x"})
    for data, name in (
        (clip, "Prediction"),
        (clip["faces"], "FaceCount"),
        (clip["damage"], "Damage"),
        (timeline, "Timeline"),
        (timeline["windows"][0], "WindowPrediction"),
        (timeline["segments"][0], "Segment"),
        (error, "ErrorResponse"),
        (error["error"], "ErrorDetail"),
        (client.get("/v2/nothing").json(), "ProtocolError"),
        (client.get("/v2").json(), "ServerMetadata"),
        (model, "ModelMetadata"),
        (model["inputs"][0], "TensorMetadata"),
        (inference.json(), "InferenceResponse"),
    ):
        assert set(data) == set(schemas[name]["properties"]), name


def test_settings_of_a_timeline(make):
    client, _ = make()
    for query, reason in (
        ({"window_s": 1}, "bad_config"),
        ({"timeline": "perhaps"}, "bad_request"),
        ({"timeline": True, "window_s": 99}, "bad_config"),
        ({"timeline": True, "window_s": "nan"}, "bad_request"),
        ({"timeline": True, "hop_s": -1}, "bad_request"),
    ):
        assert reason_of(send(client, **query)) == (400, reason), query


def test_every_reason_has_its_status(make):
    client, _ = make()
    expected = {
        "bad_config": 400, "not_media": 415, "format_not_allowed": 415, "unsupported_codec": 415,
        "not_found": 500, "unreadable": 500, "not_regular_file": 500, "worker_died": 500,
        "decoder_crashed": 502, "timeout": 504, "write_failed": 507,
    }  # fmt: skip
    for reason in Reason:
        response = send(client, reason)
        assert reason_of(response) == (expected.get(reason, 422), reason)
        assert response.json()["error"]["cause"] == "the cause lies in the file"
    assert set(RefusalReason) <= set(STATUS)


@pytest.fixture
def log():
    stream = io.StringIO()
    configure_log(stream)
    yield stream
    LOGGER.handlers = [logging.NullHandler()]


def test_defects_are_logged_without_their_text(make, log):
    client, service = make()
    response = send(client, "defect")
    assert reason_of(response) == (500, "internal")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "secret" not in response.text + log.getvalue()
    defect = find_line(log, "defect")
    assert defect["error"] == "ZeroDivisionError"
    assert any(step.startswith("test_serve_app.py:") for step in defect["at"])
    assert defect["request"] == response.headers["X-Request-ID"]
    assert send(client).status_code == 200
    assert service.decoders.n_busy == 0


def find_line(log, event) -> dict:
    lines = map(json.loads, log.getvalue().splitlines())
    return next(line for line in lines if line["event"] == event)


def test_the_log_holds_nothing_of_the_client(make, log):
    client, _ = make()
    send(client, "no_face", name="anna.mp4")
    client.get("/films/anna.mp4", headers={"X-Request-ID": "anna"})
    client.request("ANNA", "/v2")
    assert "anna" not in log.getvalue().lower()
    assert "testclient" not in log.getvalue()
    line = find_line(log, "request")
    assert (line["route"], line["code"], line["reason"]) == ("/v1/predict", 422, "no_face")


def test_timeout(make, monkeypatch):
    client, service = make(workers=1, timeout_s=0.2)
    assert reason_of(send(client, "wait")) == (504, "timeout")
    assert reason_of(send(client)) == (504, "timeout")  # the decoder is still busy
    StubDecoder.gate.set()
    wait_until(lambda: service.decoders.n_busy == 0)
    assert send(client).status_code == 200
    monkeypatch.setattr(service_module, "_MIN_S", 1e6)  # a decoder does not start too late
    assert send(client).status_code == 504
    assert service.decoders.n_busy == 0


def test_readiness(make):
    gate = threading.Event()

    def make_slowly():
        assert gate.wait(60)
        return StubDecoder()

    client, service = make(make_slowly, ready=False)
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/models/stub/ready").status_code == 503
    assert reason_of(send(client)) == (503, "not_ready")
    gate.set()
    wait_until(lambda: service.ready)
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/stub/ready").json() == {"name": "stub", "ready": True}
    assert "keras_emo_ready 1.0" in client.get("/metrics").text
    service.drain()
    assert client.get("/v2/health/ready").status_code == 503
    response = send(client)
    assert reason_of(response) == (503, "draining")
    assert "Retry-After" in response.headers


def test_decoders_that_do_not_start(make):
    failure = EnvironmentFailure("sandbox", Reason.WORKER_DIED, "it did not start")
    client, service = make(Mock(side_effect=failure), ready=False)
    wait_until(lambda: service.failure is not None)
    assert client.get("/v2/health/ready").status_code == 503


def test_tensors(make):
    client, _ = make(max_tensor_bytes=100)
    response = client.post("/v2/models/stub/infer", json={"inputs": [TENSOR]})
    assert response.json()["outputs"][0]["data"] == [2, 4]
    response = client.post("/v2/models/stub/infer", json={"inputs": []})
    assert response.status_code == 400
    assert response.json() == {"error": "bad_request: the input a is missing"}
    assert client.post("/v2/models/stub/infer", content=b"x" * 101).status_code == 413
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/nothing"):
        assert client.get(path).status_code == 404
        assert isinstance(client.get(path).json()["error"], str)
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/models/stub").json()["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 2]}
    ]


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


def test_authentication(make):
    client, _ = make(api_key=KEY)
    response = send(client)
    assert reason_of(response) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == 401
    assert client.get("/v2/health/live").status_code == 200
    client.headers["Authorization"] = f"Bearer {KEY}"
    assert send(client).status_code == 200
    description = client.get("/openapi.json").json()
    assert "APIKeyHeader" in description["components"]["securitySchemes"]


def test_what_is_refused_before_the_body_is_read(make, monkeypatch):
    """Authentication, Host, Origin, draining, admission and declared length."""
    client, service = make(max_upload_bytes=1000, max_tensor_bytes=1000, queue=0)
    monkeypatch.setattr(service.folder, "receive", None)  # nothing gets as far as this
    for at, headers, status in (
        (client, {"Origin": "http://evil.example"}, 403),
        (client, {"Host": "evil.example"}, 403),
        (client, {"Content-Length": "1001"}, 413),
        (make(api_key=KEY)[0], {}, 401),
    ):
        response = at.post("/v1/predict", content=b"x" * 900, headers=headers)
        assert response.status_code == status
        assert response.headers["Connection"] == "close"  # the body is on its way
        assert response.headers["X-Frame-Options"] == "DENY"
    with service.enter():
        for mean_s, expected_s in ((0.5, 1), (18.0, 9), (500.0, 60)):
            service._mean_s = mean_s
            response = send(client)
            assert reason_of(response) == (503, "overloaded")
            assert int(response.headers["Retry-After"]) == expected_s
    service.drain()
    assert reason_of(send(client)) == (503, "draining")
    response = client.get("/v2", headers={"Origin": "http://evil.example"})
    assert response.json() == {"error": "forbidden: cross-site requests are not allowed"}


def test_the_page_and_the_docs_load_nothing_from_elsewhere(make, tmp_path):
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>page</title>")
    (static / "icon.svg").write_text("<svg/>")
    (static / "assets" / "app.js").write_text("0")
    client, _ = make()
    assert client.get("/").status_code == 404  # there is no page
    client, _ = make(static=static)
    assert "page" in client.get("/").text
    assert client.get("/assets/app.js").status_code == 200
    assert client.get("/icon.svg").text == "<svg/>"
    assert reason_of(client.get("/nothing")) == (404, "unknown_route")
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
    for path, allowed in (("/v1/predict", {"POST"}), ("/", {"GET", "HEAD"})):
        response = client.options(path)
        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) == allowed


def test_a_client_that_has_disconnected_gets_no_decoder(make):
    client, service = make()

    work = service.predict, Upload(Path("x"), "x"), PredictOptions(), AsyncMock(return_value=True)
    with pytest.raises(Refusal, match="disconnected"):
        client.portal.call(*work)
    assert service.decoders.n_busy == 0
    assert send(client).status_code == 200
