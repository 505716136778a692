"""The processes that train together: what their chief decides and tells the others."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, get_args

from keras_emo import errors
from keras_emo.errors import EmoError, EnvironmentFailure, Reason
from keras_emo.training.channel import connect, receive, send
from keras_emo.training.members import VARIABLE, read_members

Result = TypeVar("Result")
Kind = Literal["none", "mirrored", "multiworker"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LAST_WORD_S = 15.0  # TensorFlow needs ten to notice that a worker is gone


@contextlib.contextmanager
def gather_team(kind: Kind) -> Iterator[Team]:
    """This process alone, or for multiworker with all that TF_CONFIG names, once they are there."""
    if kind != "multiworker":
        yield Team()
        return
    members = read_members(os.environ.get(VARIABLE))
    size = len(members.addresses)
    team = Team(members.number, size, connect(members) if size > 1 else {})
    try:
        yield team
    finally:
        team.close()


class Team:
    """This process among those that train together; alone where no peers are given.

    peers: open connections, of the chief to every other by number, of another to the chief, 0.
    """

    def __init__(
        self, number: int = 0, size: int = 1, peers: dict[int, socket.socket] | None = None
    ):
        self.number, self.size, self.peers = number, size, peers or {}

    @property
    def is_coordinator(self) -> bool:
        return self.number == 0

    def run_on_coordinator(self, function: Callable[[], Result]) -> Result:
        """What function returned in the chief; it is called there only, the others wait.

        The result is plain values, as JSON has them, where there are others. An EmoError raised
        by the function is raised in every process. Raises EnvironmentFailure, worker_died, where
        a process is gone.
        """
        if not self.is_coordinator:
            return _open_answer(self._hear(0))
        try:
            value = function()
        except EmoError as e:
            self._tell(_pack_error(e))
            raise
        self._tell({"value": value if self.size > 1 else None})
        return value

    def run_coordinator_first(self, function: Callable[[], Result]) -> Result:
        """Call function in the chief and, once that is done, in the others: what it makes is there.

        Errors as in ask_chief.
        """
        made: list[Result] = []
        self.run_on_coordinator(lambda: made.append(function()))
        return made[0] if made else function()

    def agree(self, function: Callable[[], None]) -> None:
        """Call function in every process; raises in all of them what it raised in any."""
        failure: EmoError | None = None
        try:
            function()
        except EmoError as e:
            failure = e
        if not self.is_coordinator:
            self._say(0, _pack_error(failure) if failure else {"value": None})

        def gather() -> None:
            failures = [failure] if failure is not None else []
            for number in self.peers:  # all of them: what is not read is in the answer's way
                try:
                    _open_answer(self._hear(number))
                except EmoError as e:
                    failures.append(e)
            if failures:
                raise failures[0]

        self.run_on_coordinator(gather)

    def blame(self, error: Exception) -> EmoError:
        """The failure to end with after a collective operation did: who is gone, by the chief.

        Waits LAST_WORD_S for a connection to end, the others a little longer for the chief's word.
        """
        cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no cause given"
        end_s = time.monotonic() + LAST_WORD_S * (1.0 if self.is_coordinator else 1.3)
        try:
            while (left_s := end_s - time.monotonic()) > 0:
                ready, _, _ = select.select(list(self.peers.values()), [], [], left_s)
                for number, peer in self.peers.items():
                    if peer in ready:
                        _open_answer(self._hear(number))  # raises at its end
        except EmoError as e:
            failure = e
        else:
            failure = EnvironmentFailure(f"a worker of {self.size}", Reason.WORKER_DIED, cause)
        if self.is_coordinator:
            with contextlib.suppress(EmoError):
                self._tell(_pack_error(failure))
        return failure

    @contextlib.contextmanager
    def one_output(self) -> Iterator[None]:
        """Only the chief prints inside the block; the others are heard when they fail."""
        with contextlib.ExitStack() as stack:
            if not self.is_coordinator:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield

    def close(self) -> None:
        for peer in self.peers.values():
            peer.close()

    def _tell(self, message: dict[str, Any]) -> None:
        gone: EmoError | None = None
        for number in self.peers:
            try:
                self._say(number, message)
            except EmoError as e:
                gone = e
        if gone is not None:
            raise gone

    def _say(self, number: int, message: dict[str, Any]) -> None:
        try:
            send(self.peers[number], message)
        except OSError as e:
            raise self._miss(number) from e

    def _hear(self, number: int) -> dict[str, Any]:
        try:
            return receive(self.peers[number])
        except (OSError, ValueError) as e:
            raise self._miss(number) from e

    def _miss(self, number: int) -> EmoError:
        who = f"worker {number} of {self.size}" if number else f"the chief of {self.size} workers"
        cause = "its connection ended; all started again go on from the last checkpoint"
        return EnvironmentFailure(who, Reason.WORKER_DIED, cause)


def _pack_error(error: EmoError) -> dict[str, Any]:
    kinds = [k.__name__ for k in type(error).__mro__ if getattr(errors, k.__name__, None) is k]
    return {"error": [kinds[0], error.path, error.reason, error.cause]}


def _open_answer(message: dict[str, Any]) -> Any:
    if "error" in message:
        kind, path, reason, cause = message["error"]
        raise getattr(errors, kind)(path, Reason(reason), cause)
    return message["value"]
