"""Who trains together, as the variable TF_CONFIG tells each of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from keras_emo.errors import Reason, UsageError

VARIABLE = "TF_CONFIG"


@dataclass(frozen=True)
class Members:
    """Addresses of all workers, the chief first, and the number of this one."""

    addresses: tuple[tuple[str, int], ...]
    number: int


def read_members(text: str | None) -> Members:
    """Members from the JSON in TF_CONFIG: cluster.worker (and chief), task.type and task.index.

    Raises UsageError naming what is wrong with it.
    """
    try:
        if not text:
            raise ValueError("not set, but --distribute multiworker reads the cluster from it")
        data = json.loads(text)
        cluster, task = data["cluster"], data["task"]
        if set(cluster) - {"chief", "worker"}:
            raise ValueError(f"jobs {', '.join(sorted(cluster))}; known: chief, worker")
        chief, worker = cluster.get("chief", []), cluster.get("worker", [])
        kind, index = task["type"], task["index"]
        jobs = {"chief": chief, "worker": worker}
        if kind not in jobs or type(index) is not int or not 0 <= index < len(jobs[kind]):
            raise ValueError(f"no {kind} {index} in its cluster")
        addresses = tuple(_split_address(a) for a in (*chief, *worker))
        if len(chief) > 1 or len(set(addresses)) < len(addresses):
            raise ValueError("two chiefs, or one address twice")
        return Members(addresses, index + (len(chief) if kind == "worker" else 0))
    except KeyError as e:
        raise UsageError(VARIABLE, Reason.BAD_CONFIG, f"it has no {e}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise UsageError(VARIABLE, Reason.BAD_CONFIG, str(e)) from None


def _split_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no host:port")
    return host, int(port)
