"""Protobuf messages of model servers, declared by hand: only the fields that are used."""

from __future__ import annotations

from typing import Any

_SCALARS = {"int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13, "uint64": 4}
_MESSAGE, _ENUM = 11, 14
_OPTIONAL, _REPEATED = 1, 3

Field = tuple[str, int, str]  # name, number, kind


def declare(
    package: str, messages: dict[str, list[Field]], enums: dict[str, dict[str, int]] | None = None
) -> dict[str, Any]:
    """Message classes by name, in a pool of their own beside any that are installed.

    kind of a field: a scalar, or the name of a message or an enum; ``many ...`` repeats it,
    ``map ...`` maps texts to it.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, values in (enums or {}).items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)

    def add(message: Any, name: str, number: int, kind: str) -> None:
        form, _, last = kind.rpartition(" ")
        field = message.field.add(name=name, number=number)
        field.label = _REPEATED if form else _OPTIONAL
        if form == "map":
            entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            add(entry, "key", 1, "string")
            add(entry, "value", 2, last)
            field.type = _MESSAGE
            field.type_name = f".{package}.{message.name}.{entry.name}"
        elif last in _SCALARS:
            field.type = _SCALARS[last]
        else:
            field.type = _ENUM if last in (enums or {}) else _MESSAGE
            field.type_name = f".{package}.{last}"

    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for each in fields:
            add(message, *each)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }
