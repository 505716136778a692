"""Refused clips, and what the page shows."""

from __future__ import annotations

import socket
from contextlib import closing
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium")
pytest.importorskip("fastapi")

from selenium.webdriver.common.keys import Keys

from .conftest import KEY
from .visitor import Visitor

pytestmark = pytest.mark.slow


def test_a_broken_file_is_explained(visitor, clips):
    visitor.drop(clips.broken)
    assert visitor.wait("#failure").text == "This file cannot be read"
    assert "Try another file" in visitor.find(".failure").text
    alert = visitor.find("[role=alert]").get_property("textContent")
    assert alert.startswith("This file cannot be read. ")
    assert visitor.name_focus() == "This file cannot be read"
    visitor.choose(clips.talk)  # the page still works
    visitor.wait("#overall")


def test_a_file_that_is_too_large_and_a_missing_key(strict, clips):
    strict.choose(clips.talk)
    assert strict.wait("#failure").text == "This server asks for a key"
    for key, text in (("a wrong key", "The last key was not taken"), (KEY, None)):
        strict.find("#key").send_keys(key, Keys.ENTER)
        if text is not None:
            strict.wait_until(lambda text=text: text in strict.wait(".failure").text)
    strict.wait("#overall")
    strict.click("Another clip")
    strict.choose(clips.large)
    assert strict.wait("#failure").text == "This file is too large"
    assert "More than 1.0 MB" in strict.find(".failure").text


def test_retry_of_a_busy_service(strict, clips):
    strict.choose(clips.talk)
    strict.wait("#key")
    with closing(occupy(strict.address)):
        strict.find("#key").send_keys(KEY, Keys.ENTER)
        strict.wait_until(lambda: strict.wait("#failure").text == "The server is busy")
        assert "Try again in " in strict.find(".failure").text
    strict.click("Try again")
    strict.wait_until(lambda: retry(strict))


def retry(visitor: Visitor) -> bool:
    """Whether there is a prediction; retries while the service is busy."""
    if visitor.find_all("#failure"):
        visitor.click("Try again")
    return bool(visitor.find_all("#overall"))


def occupy(address: str) -> socket.socket:
    """Occupy the only slot with an upload that does not end."""
    place = urlsplit(address)
    connection = socket.create_connection((place.hostname, place.port), timeout=10)
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {place.netloc}\r\nX-API-Key: {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    )
    connection.sendall(head.encode())
    return connection


def test_sending_can_be_cancelled(visitor, clips):
    visitor.driver.execute_cdp_cmd("Network.enable", {})
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 20_000}
    visitor.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        visitor.choose(clips.talk)
        assert visitor.wait("#busy").text == "Sending your clip"
        assert visitor.name_focus() == "Cancel"
        visitor.press(Keys.ENTER)
        visitor.wait(".zone")
    finally:
        fast = {**slow, "uploadThroughput": -1}
        visitor.driver.execute_cdp_cmd("Network.emulateNetworkConditions", fast)
    assert not visitor.find_all("#failure")
