"""Processes that train together: who they are, what the chief tells, and who is missed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from keras_emo.errors import ClipError, EmoError, EnvironmentFailure, Reason, UsageError
from keras_emo.training import channel, team
from keras_emo.training.channel import connect
from keras_emo.training.members import Members, read_members
from keras_emo.training.team import Team


def config(number: int = 0, kind: str = "worker", **cluster: Any) -> str:
    cluster = cluster or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": number}})


def test_members_are_read_chief_first():
    assert read_members(config(1)) == Members((("a", 1), ("b", 2)), 1)
    both = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    assert read_members(config(1, **both)) == Members((("a", 1), ("b", 2), ("c", 3)), 2)
    assert read_members(config(0, "chief", **both)).number == 0


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "not set"),
        ("", "not set"),
        ("{", "Expecting"),
        ("[]", "indices"),
        ("{}", "no 'cluster'"),
        (json.dumps({"cluster": {"worker": ["a:1"]}}), "no 'task'"),
        (config(2), "no worker 2"),
        (config(-1), "no worker -1"),
        (config(0, "ps"), "no ps 0"),
        (config(0, "evaluator", worker=["a:1"], evaluator=["b:1"]), "evaluator"),
        (config(0, worker=["a"]), "no host:port"),
        (config(0, worker=["a:99999"]), "no host:port"),
        (config(0, worker=["a:1", "a:1"]), "one address twice"),
        (config(0, worker=[3]), "rpartition"),
        (config(True), "no worker True"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_wrong_with_the_variable_is_one_line(text, cause):
    with pytest.raises(UsageError, match=r"TF_CONFIG.*bad_config") as e:
        read_members(text)
    assert cause in str(e.value)
    assert "\n" not in str(e.value)


def free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return "127.0.0.1", s.getsockname()[1]


def knock(address: tuple[str, int]) -> socket.socket:
    """A connection, as soon as somebody listens."""
    end_s = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(address, 5)
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.01)


def together(n: int, function: Callable[[Team], Any]) -> list[Any]:
    """What function returns, or raises, in each of n processes that are threads here."""
    pairs = [socket.socketpair() for _ in range(n - 1)]
    teams = [Team(0, n, {i + 1: a for i, (a, _) in enumerate(pairs)})]
    teams += [Team(i + 1, n, {0: b}) for i, (_, b) in enumerate(pairs)]
    results: list[Any] = [None] * n

    def run(one: Team) -> None:
        try:
            results[one.number] = function(one)
        except EmoError as e:
            results[one.number] = e
        finally:
            one.close()

    threads = [threading.Thread(target=run, args=(t,)) for t in teams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return results


def test_the_chief_is_asked_alone_and_all_hear_it():
    asked = []

    def work(one: Team) -> Any:
        first = one.run_on_coordinator(
            lambda: asked.append(one.number) or {"epoch": 3, "best": [0.5, -1]}
        )
        return (
            first,
            one.run_on_coordinator(lambda: True),
            one.run_coordinator_first(lambda: object()),
        )

    said = together(3, work)
    assert asked == [0]
    assert all(s[:2] == ({"epoch": 3, "best": [0.5, -1]}, True) for s in said)
    assert len({id(s[2]) for s in said}) == 3  # each has made its own


def test_alone_nothing_is_sent():
    nothing = object()
    assert Team().run_on_coordinator(lambda: nothing) is nothing
    assert Team().run_coordinator_first(lambda: nothing) is nothing
    with pytest.raises(UsageError):
        Team().agree(fail)


def fail() -> None:
    raise UsageError("here", Reason.BAD_CONFIG, "so it is")


def test_a_failure_of_the_chief_is_everyones():
    class LocalError(ClipError):
        """One that the others may not know."""

    def break_down() -> None:
        raise LocalError("clip.mp4", Reason.NO_FACE, "nobody there")

    for error in together(3, lambda one: one.run_on_coordinator(break_down)):
        assert isinstance(error, ClipError)
        assert str(error) == "'clip.mp4': no_face: nobody there"
    for error in together(2, lambda one: one.run_coordinator_first(fail)):
        assert isinstance(error, UsageError)


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_a_failure_of_any_is_everyones_when_all_have_to_agree(culprit):
    for error in together(3, lambda one: one.agree(fail if one.number == culprit else list)):
        assert isinstance(error, UsageError)
        assert error.cause == "so it is"
    assert together(3, lambda one: one.agree(lambda: None)) == [None] * 3


def test_who_is_gone_is_named():
    def leave(number: int) -> Callable[[Team], Any]:
        return lambda one: None if one.number == number else one.agree(lambda: None)

    chief, gone, other = together(3, leave(1))
    assert gone is None
    assert chief.reason == Reason.WORKER_DIED
    assert chief.path == "worker 1 of 3"
    assert (other.reason, other.path) == (chief.reason, chief.path)  # as the chief told it
    _, error, _ = together(3, leave(0))
    assert (error.reason, error.path) == (Reason.WORKER_DIED, "the chief of 3 workers")
    assert isinstance(error, EnvironmentFailure)


def test_a_failed_operation_is_blamed_on_who_is_gone(monkeypatch):
    def work(one: Team) -> Any:
        return None if one.number == 2 else one.blame(RuntimeError("ring is broken\nat length"))

    chief, other, _ = together(3, work)
    assert (chief.path, other.path) == ("worker 2 of 3",) * 2
    monkeypatch.setattr(team, "LAST_WORD_S", 0.2)
    for error in together(2, lambda one: one.blame(RuntimeError("ring is broken\nat length"))):
        assert error.reason == Reason.WORKER_DIED
        assert error.path == "a worker of 2"  # all are there: nobody in particular
        assert error.cause == "ring is broken"


def test_workers_find_each_other_whoever_comes_first_or_knocks():
    addresses = (free_address(), ("b", 1), ("c", 2))
    members = [Members(addresses, i) for i in range(3)]
    joined: dict[int, dict[int, socket.socket]] = {}

    def join(i: int) -> None:
        joined[i] = connect(members[i], 20)

    threads = [threading.Thread(target=join, args=(i,)) for i in (1, 0, 2)]
    for thread in threads[:2]:
        thread.start()
    for noise in (b"GET / HTTP/1.1\r\n\r\n", json.dumps({"size": 9}).encode()):
        with knock(addresses[0]) as stranger:
            stranger.sendall(len(noise).to_bytes(8, "big") + noise)
    threads[2].start()
    for thread in threads:
        thread.join(30)
    assert {i: set(peers) for i, peers in joined.items()} == {0: {1, 2}, 1: {0}, 2: {0}}
    with socket.create_server(members[0].addresses[0]):  # for TensorFlow
        channel.send(joined[2][0], {"value": 7})
        assert channel.receive(joined[0][2]) == {"value": 7}
    for peers in joined.values():
        for peer in peers.values():
            peer.close()


def test_who_has_not_come_is_named():
    members = Members((free_address(), ("b", 1), ("c", 2)), 0)
    with pytest.raises(EnvironmentFailure, match="'worker 1, 2 of 3': worker_died: not there"):
        connect(members, 0.1)
    with pytest.raises(EnvironmentFailure, match=r"the chief at 127\.0\.0\.1:.*worker_died"):
        connect(Members(members.addresses, 2), 0.1)
    with (
        socket.create_server(members.addresses[0]),
        pytest.raises(EnvironmentFailure, match="cannot_listen"),
    ):
        connect(members, 0.1)


def test_only_the_chief_prints(capsys):
    for one in (Team(0, 2), Team(1, 2)):
        with one.one_output():
            print(f"worker {one.number}")
    assert capsys.readouterr().out == "worker 0\n"
