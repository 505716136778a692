"""Mutations that keep the outer format, so that the code behind the parser is reached.

Each has the signature of libFuzzer's: (data, max_size, seed) -> data.
"""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import atheris

Mutate = Callable[[bytes, int, int], bytes]
ODD = (
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 10**400, 2**63, 1e308, float("inf"), float("nan"),
    "", "face", "voice", "one", "a\0b", "\ud800", "../x", "/", "x" * 300, [], {}, [[]],
    [{}], {"": {}},
)  # fmt: skip


def mutate_bytes(data: bytes, max_size: int, seed: int) -> bytes:
    return atheris.Mutate(data, max_size)


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a value, or remove, rename or copy an entry; now and then change any bytes."""
    rng = random.Random(seed)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, max_size, seed)
    if rng.random() < 0.2:
        return mutate_bytes(data, max_size, seed)
    if rng.random() < 0.01:
        return b"[" * min(max_size, 20_000)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _change(value, rng)
    return json.dumps(value).encode()[:max_size]


def _change(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return copy.deepcopy(rng.choice(ODD))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, what = rng.choice(keys), rng.random()
    if what < 0.1:
        del value[key]
    elif what < 0.2 and isinstance(value, dict):
        value[str(rng.choice(ODD))] = value.pop(key)
    elif what < 0.3:
        value[key] = copy.deepcopy(value[rng.choice(keys)])
    else:
        value[key] = _change(value[key], rng)
    return value


def mutate_zip(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one member, with the right checksum; every fourth time change any bytes."""
    rng = random.Random(seed)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = {name: old.read(name) for name in old.namelist()}
    except Exception:
        return mutate_bytes(data, max_size, seed)
    if not members or rng.random() < 0.25:
        return mutate_bytes(data, max_size, seed)
    chosen = rng.choice(list(members))
    if rng.random() < 0.1:
        del members[chosen]
    else:
        members[chosen] = atheris.Mutate(members[chosen], max(1, max_size // 2))
    new = io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return new.getvalue()[:max_size]


def mutate_one_of(mutations: Sequence[Mutate]) -> Mutate:
    """For targets whose first byte selects the reader: it stays."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        if len(data) < 2 or max_size < 3:
            return mutate_bytes(data, max_size, seed)
        return data[:1] + mutations[data[0] % len(mutations)](data[1:], max_size - 1, seed)

    return mutate
