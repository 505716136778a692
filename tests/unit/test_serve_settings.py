import pytest

from keras_emo.errors import UsageError
from keras_emo.serve.middleware import check_request
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.settings import KEY_VARIABLE, Settings, choose_key, is_loopback

KEY = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    assert choose_key(host, {}, None) is None
    assert choose_key(host, {KEY_VARIABLE: KEY}, None) == KEY


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.org"])
def test_beyond_loopback_a_key_is_needed(host, tmp_path):
    with pytest.raises(UsageError, match="API key"):
        choose_key(host, {}, None)
    assert choose_key(host, {KEY_VARIABLE: KEY}, None) == KEY
    (tmp_path / "key").write_text(KEY + "\n")
    assert choose_key(host, {}, tmp_path / "key") == KEY


@pytest.mark.parametrize("content", ["", "short", "ключ" * 9, "0123456789abc\x00def"])
def test_invalid_keys(content, tmp_path):
    (tmp_path / "key").write_text(content)
    with pytest.raises(UsageError):
        choose_key("127.0.0.1", {}, tmp_path / "key")
    with pytest.raises(UsageError):
        choose_key("127.0.0.1", {}, tmp_path / "missing")


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
    if status == 200:
        check_request(settings, path, headers)
        return
    with pytest.raises(Refusal) as caught:
        check_request(settings, path, headers)
    assert caught.value.status == status


def test_the_key_is_in_no_text():
    assert KEY not in repr(LOCKED)
    with pytest.raises(ValueError, match="workers is 0, it can be at least 1") as caught:
        Settings(api_key=KEY, workers=0)
    assert KEY not in str(caught.value)
