import pytest

from keras_emo.errors import UsageError
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


@pytest.mark.parametrize(
    "content", [b"", b"short", "ключ".encode() * 9, b"\xff" * 16, b"0123456789abc\0def"]
)
def test_invalid_keys(content, tmp_path):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError):
        choose_key("127.0.0.1", {}, tmp_path / "key")
    with pytest.raises(UsageError):
        choose_key("127.0.0.1", {}, tmp_path / "missing")


def test_the_key_is_in_no_text():
    assert KEY not in repr(Settings(api_key=KEY))
    with pytest.raises(ValueError, match="workers is 0, it can be at least 1") as caught:
        Settings(api_key=KEY, workers=0)
    assert KEY not in str(caught.value)
