"""Connections between the chief of a training and the other workers; messages are JSON."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

from keras_emo.errors import EnvironmentFailure, Reason
from keras_emo.training.members import Members

JOIN_S = 600.0  # machines of a cluster start minutes apart
GREETING_S = 10.0
LIMIT = 1 << 28  # bytes of a message


def connect(members: Members, wait_s: float = JOIN_S) -> dict[int, socket.socket]:
    """Connections by number: the chief's to all others, another's to the chief, 0.

    They are made at the chief's address and stay; its port is free for TensorFlow afterwards.
    Raises EnvironmentFailure where somebody has not come within wait_s, or the port is taken.
    """
    if members.number:
        return {0: _find_chief(members, wait_s)}
    return _await_others(members, wait_s)


def _await_others(members: Members, wait_s: float) -> dict[int, socket.socket]:
    size, end_s = len(members.addresses), time.monotonic() + wait_s
    host, port = members.addresses[0]
    peers: dict[int, socket.socket] = {}
    try:
        listener = socket.create_server(("", port), backlog=size)
    except OSError as e:
        name, cause = f"{host}:{port}", e.strerror or str(e)
        raise EnvironmentFailure(name, Reason.CANNOT_LISTEN, cause) from None
    with listener:
        while len(peers) < size - 1:
            left_s = end_s - time.monotonic()
            listener.settimeout(max(0.01, left_s))
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                late = ", ".join(str(n) for n in range(1, size) if n not in peers)
                cause = f"not there after {wait_s:.0f} s"
                name = f"worker {late} of {size}"
                raise EnvironmentFailure(name, Reason.WORKER_DIED, cause) from None
            peer.settimeout(GREETING_S)
            try:
                said = receive(peer)
                number = said["number"]
                if said["size"] != size or number not in range(1, size):
                    raise ValueError("of another team")
            except (OSError, ValueError, KeyError, TypeError):
                peer.close()  # anything may knock at a port
                continue
            if number in peers:  # it was started again
                peers[number].close()
            peers[number] = peer
    for peer in peers.values():
        _keep(peer)
        with contextlib.suppress(OSError):  # who is gone again is missed soon
            send(peer, {"value": "all are here"})
    return peers


def _find_chief(members: Members, wait_s: float) -> socket.socket:
    end_s = time.monotonic() + wait_s
    host, port = members.addresses[0]
    while (left_s := end_s - time.monotonic()) > 0:
        peer: socket.socket | None = None
        try:
            peer = socket.create_connection((host, port), timeout=GREETING_S)
            peer.settimeout(left_s)
            send(peer, {"number": members.number, "size": len(members.addresses)})
            receive(peer)
        except (OSError, ValueError):  # not there yet, or something else at its port
            if peer is not None:
                peer.close()
            time.sleep(min(0.5, max(0.0, left_s)))
            continue
        _keep(peer)
        return peer
    cause = f"not there after {wait_s:.0f} s"
    raise EnvironmentFailure(f"the chief at {host}:{port}", Reason.WORKER_DIED, cause)


def _keep(peer: socket.socket) -> None:
    """Wait without end on a connection, but notice within half a minute that a machine is gone."""
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # not on every system
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def send(peer: socket.socket, message: dict[str, Any]) -> None:
    content = json.dumps(message).encode()
    peer.sendall(len(content).to_bytes(8, "big") + content)


def receive(peer: socket.socket) -> dict[str, Any]:
    """One message. Raises OSError at the connection's end, ValueError for what is no message."""
    size = int.from_bytes(_read(peer, 8), "big")
    if size > LIMIT:
        raise ValueError("no message")
    return json.loads(_read(peer, size))


def _read(peer: socket.socket, n: int) -> bytes:
    content = bytearray()  # a copy for every part would be quadratic
    while len(content) < n:
        part = peer.recv(min(n - len(content), 1 << 20))
        if not part:
            raise ConnectionError("ended")
        content += part
    return bytes(content)
