from contextlib import nullcontext

import pytest

pytest.importorskip("starlette")
from keras_emo.serve.middleware import check_request
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.settings import Settings

KEY = "0123456789abcdef"
OPEN, LOCKED = Settings(), Settings(api_key=KEY)


@pytest.mark.parametrize(
    ("settings", "path", "headers", "status"),
    [
        (OPEN, "/v1/predict", {"host": "localhost:8080"}, 200),
        (OPEN, "/v1/predict", {"host": "[::1]:8080"}, 200),
        (OPEN, "/v1/predict", {"host": "evil.example"}, 403),
        (OPEN, "/v1/predict", {"host": "[bad"}, 403),
        (OPEN, "/", {}, 403),
        (OPEN, "/", {"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        (OPEN, "/", {"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        (OPEN, "/", {"host": "localhost:1", "origin": "null"}, 403),
        (OPEN, "/", {"host": "localhost:1", "origin": "http://[bad"}, 403),
        (LOCKED, "/", {"origin": "http://[bad"}, 403),
        (LOCKED, "/v1/predict", {"host": "a.example"}, 401),
        (LOCKED, "/v1/predict", {"host": "a.example", "x-api-key": KEY}, 200),
        (LOCKED, "/v1/predict", {"host": "a", "authorization": f"Bearer {KEY}"}, 200),
        (LOCKED, "/v1/predict", {"host": "a", "authorization": f"Basic {KEY}"}, 401),
        (LOCKED, "/v1/predict", {"host": "a", "x-api-key": KEY[:-1]}, 401),
        (LOCKED, "/v1/predict", {"host": "a", "x-api-key": "é"}, 401),
        (LOCKED, "/metrics", {"host": "a"}, 401),
        (LOCKED, "/v2/models/default", {"host": "a"}, 401),
        (LOCKED, "/v2/health/ready", {"host": "a"}, 200),
        (LOCKED, "/", {"host": "a"}, 200),
        (LOCKED, "/v1/predict", {"host": "a", "origin": "http://b", "x-api-key": KEY}, 403),
    ],
)
def test_requests(settings, path, headers, status):
    with nullcontext() if status == 200 else pytest.raises(Refusal) as caught:
        check_request(settings, path, headers)
    assert status == (caught.value.status if caught else 200)
