"""Dataclasses from JSON values and back, by the types of their fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read_fields(kind: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """A dataclass from an object with its fields; other entries are ignored.

    where: the entry to name. Raises ValueError naming what is missing or malformed.
    """
    hints, values = get_type_hints(kind), {}
    for f in fields(kind):  # type: ignore[arg-type]
        entry = f"{where}.{f.name}".lstrip(".")
        if f.name in data:
            values[f.name] = read_value(hints[f.name], data[f.name], entry)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"the entry {entry!r} is missing")
    try:
        return kind(**values)
    except ValueError as e:  # what its __post_init__ refuses
        raise ValueError(f"the entry {where!r} is malformed, {e}" if where else e) from None


def read_value(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as a type: a dataclass, tuple, Mapping, union, Enum, Path or plain type.

    A dataclass with a from_dict of its own is read by that. Raises ValueError.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is UnionType:
        return _read_union(arguments, value, where)
    if origin is tuple:
        items = _check_type(list, value, where)
        if arguments[-1] is not Ellipsis and len(items) != len(arguments):
            raise ValueError(f"the entry {where!r} has {len(items)} values, not {len(arguments)}")
        return tuple(read_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(items))
    if origin is not None:
        items = _check_type(dict, value, where).items()
        return {key: read_value(arguments[1], v, f"{where}.{key}") for key, v in items}
    if is_dataclass(kind):
        return _read_dataclass(kind, _check_type(dict, value, where), where)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is Path:
        return Path(_check_type(str, value, where))
    return _check_type(kind, value, where)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        with suppress(ValueError):
            return read_value(kind, value, where)
    return read_value(last, value, where)


def _read_dataclass(kind: Any, data: dict[str, Any], where: str) -> Any:
    if not hasattr(kind, "from_dict"):
        return read_fields(kind, data, where)
    try:
        return kind.from_dict(data)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        cause = f"{type(e).__name__}: {e}"
        raise ValueError(f"the entry {where!r} is malformed, {cause}") from None


def _check_type(kind: Any, value: Any, where: str) -> Any:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"the entry {where!r} is not a {kind.__name__}: {value!r:.60}")
    if kind is float and abs(value) > sys.float_info.max and not isinstance(value, float):
        raise ValueError(f"the entry {where!r} is too large for a number")
    return value


def write_fields(record: Any) -> dict[str, Any]:
    """Inverse of read_fields; entries that are optional and None or () are left out."""
    present = {f.name: (getattr(record, f.name), f.default) for f in fields(record)}
    return {
        name: write_value(value)
        for name, (value, default) in present.items()
        if value != default or default not in (None, ())
    }


def write_value(value: Any) -> Any:
    """Inverse of read_value."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return write_fields(value)
    if isinstance(value, Mapping):
        return {key: write_value(inner) for key, inner in value.items()}
    return [write_value(inner) for inner in value] if isinstance(value, tuple | list) else value
