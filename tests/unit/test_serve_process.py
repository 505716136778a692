import asyncio

import pytest

pytest.importorskip("uvicorn")
import uvicorn

from keras_emo.errors import EnvironmentFailure
from keras_emo.serve.process import Connection, format_address, listen
from keras_emo.serve.settings import Settings


async def respond(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("head", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_slow_head_closes_the_connection(head):
    impatient = type("Impatient", (Connection,), {"header_s": 0.2})
    whole = head.endswith(b"\r\n\r\n")

    async def talk() -> bytes:
        config = uvicorn.Config(
            respond, http=impatient, lifespan="off", log_config=None, timeout_keep_alive=2
        )
        server = uvicorn.Server(config)
        with listen(Settings(port=0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(head)
            if whole:  # a complete request has no deadline, the next one has
                await asyncio.sleep(0.4)
                writer.write(head + b"GET / HT")
            data = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            server.should_exit = True
            await serving
            return data

    assert asyncio.run(talk()).count(b"HTTP/1.1 204") == (2 if whole else 0)


def test_listening():
    with listen(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        assert format_address(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(EnvironmentFailure, match="cannot_listen"):
            listen(Settings(port=port))
    with pytest.raises(EnvironmentFailure):
        listen(Settings(host="no such host", port=0))


def test_listening_by_ipv6():
    try:
        listener = listen(Settings(host="::1", port=0))
    except EnvironmentFailure:
        pytest.skip("no IPv6 here")
    with listener:
        assert format_address(listener).startswith("http://[::1]:")
