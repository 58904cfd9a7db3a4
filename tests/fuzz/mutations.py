"""Damage, drawn from a seeded generator: of bytes, of text with numbers, of JSON trees and of folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
# What stands in files of numbers and is hard to be one.
NUMBERS = (
    "1e20", "-1", "0", "-0.0", "nan", "NaN", "inf", "-Infinity", "1e400", "1e-320", "9" * 40, "9" * 5000, "2147483648",
    "-9223372036854775809", "18446744073709551616", "0x10", "1_0", "٣", "²", "", "x", "null", "true", "[]", "{}", '""',
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e20, -1e300, 1e-320, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, float("nan"), float("inf"), "",
    "x", "\0", "\x1b[2J\n", "../../etc/passwd",
    "é" * 300, [], {}, [[]], [None], [1], [1, 2, 3, 4], ["a", "b"], {"": None},
    [[0, 0], [1e20, 0], [1, 1]], "1e20", "NaN", "/dev/zero", [[1, 2], [3]], {"size": [1, 1], "counts": "~~~~~"},
    {"size": [10**9, 10**9], "counts": [10**18]}, {"size": [4, 4], "counts": [-5, 21]},
)  # fmt: skip
_TOKENS = (
    b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b"\x1b[2J", b'"', b"'", b"<", b">",
    b"&", b"]]>", b"<!--", b"<?xml version='1.0' encoding='utf-16'?>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;",
    b"[", b"]", b"{", b"}", b",", b":", b";", b" ", b"\t", b"\xe2\x80\xae", b"%s", b"../", b"/dev/zero",
)  # fmt: skip
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to four damages of any kind; `others` are files whose parts are spliced in."""
    result = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(result) + 1)
        if random.random() < 0.4:  # headers are where the numbers are
            at = min(at, random.randrange(1, 200))
        until = min(len(result), at + random.choice((1, 2, 4, 8, 50, 500)))
        kind = random.randrange(9)
        if kind == 0:
            del result[at:]
        elif kind == 1:
            del result[at:until]
        elif kind == 2:
            result[at:at] = result[at:until] * random.choice((1, 2, 50))
        elif kind == 3:
            result[at:until] = random.randbytes(until - at)
        elif kind == 4:
            result[at:until] = bytes((random.choice((0, 255)),)) * (until - at)
        elif kind == 5:
            size = random.choice((1, 2, 4, 8))
            number = random.choice(_EXTREME) & (256**size - 1)
            result[at : at + size] = number.to_bytes(size, random.choice(("big", "little")))
        elif kind == 6 and others:
            other = random.choice(others)
            start = random.randrange(len(other) + 1)
            result[at:] = other[start:] if random.random() < 0.5 else other[at:]
        elif kind == 7:
            result[at:at] = random.choice(_TOKENS)
        elif result:
            place = min(at, len(result) - 1)
            result[place] ^= 1 << random.randrange(8)
    return bytes(result)


def damaged_text(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The same for text: odd numbers, other encodings, lines twice or long, deep nesting."""
    kind = random.randrange(10)
    if kind < 4:
        found = list(_NUMBER.finditer(content))
        for match in sorted(
            random.sample(found, min(len(found), random.choice((1, 1, 2, 8)))), key=lambda m: -m.start()
        ):
            content = content[: match.start()] + random.choice(NUMBERS).encode() + content[match.end() :]
        return content
    if kind == 4:
        text = content.decode("utf-8", "replace")
        return text.encode(random.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037")))
    if kind == 5:
        lines = content.split(b"\n")
        at = random.randrange(len(lines))
        lines[at] = lines[at] * random.choice((0, 2, 100)) + random.choice(
            (b"", b" ", b"\0", b"," * 1000, b" 1" * 3000)
        )
        return b"\n".join(lines + lines * random.randrange(2))
    if kind == 6:
        opened, closed = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"- ", b""), (b"(", b")")))
        depth = random.choice((100, 2000, 100_000))
        at = random.choice((0, len(content), random.randrange(len(content) + 1)))
        return content[:at] + opened * depth + (closed * depth if random.random() < 0.5 else b"") + content[at:]
    return damaged(random, content, others)


def damaged_json(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The same for JSON, or lines of JSON: values of other kinds, keys that are missing, twice or called otherwise."""
    if random.random() < 0.3:
        return damaged_text(random, content, others)
    lines = [content]
    try:
        json.loads(content)
    except ValueError:
        lines = content.split(b"\n")
    at = random.randrange(len(lines))
    try:
        tree = json.loads(lines[at])
    except ValueError:
        return damaged_text(random, content, others)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        tree = _changed(random, tree)
    lines[at] = json.dumps(tree).encode()
    return b"\n".join(lines)


def _changed(random: Random, tree: Any) -> Any:
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            places.append((node, key))
            walk(value)

    walk(tree)
    if not places or random.random() < 0.03:
        return deepcopy(random.choice(VALUES))
    parent, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        other, place = random.choice(places)
        parent[key] = deepcopy(other[place]) if _is_there(other, place) else None
    elif kind == 2 and isinstance(parent, list):
        parent.extend(parent[key : key + 1] * random.choice((1, 3, 300)))
    elif kind == 3 and isinstance(parent, dict):
        parent[random.choice(("", "id", "name", "\0", key.upper(), key + " "))] = parent.pop(key)
    else:
        parent[key] = deepcopy(random.choice(VALUES))  # a case must not change the next
    return tree


def _is_there(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)


def damage_tree(random: Random, folder: Path, damage: Callable[[Random, bytes, Sequence[bytes]], bytes]) -> None:
    """Damage a file or two of a folder, or put something else in the place of one: links, folders, pipes, nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    contents = [path.read_bytes() for path in files]
    for path in random.sample(files, min(len(files), random.choice((1, 1, 2)))):
        if random.random() < 0.8:
            path.write_bytes(damage(random, path.read_bytes(), contents))
            continue
        path.unlink()
        kind = random.randrange(6)
        if kind == 0:
            path.symlink_to(folder / "nowhere")
        elif kind == 1:
            path.symlink_to(path)
        elif kind == 2:
            path.mkdir()
        elif kind == 3:
            os.mkfifo(path)
        elif kind == 4:
            path.symlink_to("/dev/zero")
