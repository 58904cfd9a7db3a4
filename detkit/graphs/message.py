"""Protocol buffer messages, as far as a graph has to be changed: a list of fields that are read, replaced, written.

What is not understood is copied as it is. `detkit.graphs.stored` is the quicker way where a graph is only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from detkit.graphs.stored import read_varint


class DamagedError(ValueError):
    """The bytes are no protocol buffer message."""


class Message:
    """A protocol buffer message as a list of [field number, wire type, value]; unknown fields keep their place.

    Values are integers (wire types 0, 1, 5) or bytes (2).
    """

    def __init__(self, content: bytes = b"") -> None:
        try:
            self.fields: list[tuple[int, int, Any]] = list(_fields(content))
        except (IndexError, ValueError) as error:
            raise DamagedError("the file is damaged") from error

    def encode(self) -> bytes:
        """The message as bytes."""
        parts = []
        for number, wire, value in self.fields:
            parts.append(_varint(number << 3 | wire))
            if wire == 0:
                parts.append(_varint(value))
            elif wire == 2:
                parts += [_varint(len(value)), value]
            else:
                parts.append(value.to_bytes(8 if wire == 1 else 4, "little"))
        return b"".join(parts)

    def all(self, number: int) -> list[Any]:
        """The values of a repeated field."""
        return [value for field, _, value in self.fields if field == number]

    def one(self, number: int, default: Any) -> Any:
        """The value of a field, the last one given."""
        return next((value for field, _, value in reversed(self.fields) if field == number), default)

    def integers(self, number: int) -> list[int]:
        """A repeated integer field, packed or not, with its signs."""
        values = []
        for field, wire, value in self.fields:
            if field == number and wire == 0:
                values.append(signed(value))
            elif field == number:
                position = 0
                while position < len(value):
                    item, position = read_varint(value, position)
                    values.append(signed(item))
        return values

    def text(self, number: int) -> str:
        """A string field, "" where it is not given."""
        return bytes(self.one(number, b"")).decode(errors="replace")

    def texts(self, number: int) -> list[str]:
        """A repeated string field."""
        return [bytes(value).decode(errors="replace") for value in self.all(number)]

    def put(self, number: int, values: Any) -> Message:
        """Replace a field by one value or a list of them: integers, text, bytes or messages."""
        self.fields = [entry for entry in self.fields if entry[0] != number]
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                self.fields.append((number, 0, value & (1 << 64) - 1))
            else:
                content = value.encode() if isinstance(value, Message | str) else value
                self.fields.append((number, 2, content))
        return self


def metadata_of(content: bytes) -> dict[str, str]:
    """The custom metadata of an .onnx file. DamagedError where it is none."""
    entries = [Message(entry) for entry in Message(content).all(14)]
    return {entry.text(1): entry.text(2) for entry in entries}


def part_of(content: bytes, outputs: Sequence[str]) -> bytes:
    """The part of a graph that makes the named outputs, with the inputs that it needs.

    For graphs without nested ones (If, Loop, Scan). DamagedError where an output is not there.
    """
    model = Message(content)
    graph = Message(model.one(7, b""))
    needed, kept = set(outputs), []
    for node in reversed([Message(value) for value in graph.all(1)]):
        if needed.intersection(node.texts(2)):
            kept.append(node)
            needed.update(node.texts(1))
    inputs = [value for value in graph.all(11) if Message(value).text(1) in needed]
    weights = [value for value in graph.all(5) if Message(value).text(8) in needed]
    known = {Message(value).text(1): value for value in graph.all(12)}
    missing = [name for name in outputs if name not in known]
    if missing:
        raise DamagedError(f"the graph has no output {missing[0]!r}")
    graph.put(1, kept[::-1]).put(5, weights).put(11, inputs).put(12, [known[name] for name in outputs]).put(13, [])
    return model.put(7, graph).encode()


def _fields(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field of a message."""
    position = 0
    while position < len(content):
        tag, position = read_varint(content, position)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, position = read_varint(content, position)
        elif wire == 2:
            length, position = read_varint(content, position)
            if position + length > len(content):
                raise ValueError("field longer than its message")
            value = content[position : position + length]
            position += length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value = int.from_bytes(content[position : position + length], "little")
            position += length
        else:
            raise ValueError(f"wire type {wire}")
        yield number, wire, value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
