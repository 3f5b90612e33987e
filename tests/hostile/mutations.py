"""Bytes and JSON values changed in all the ways that a transfer, a bug or an enemy may, always the same ones."""

import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

# -- files ---------------------------------------------------------------------------------------------------------

Dice = random.Random


def _turned(data: bytearray, dice: Dice) -> None:
    for _ in range(dice.choice((1, 1, 4, 32))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _overwritten(data: bytearray, dice: Dice) -> None:
    at, length = dice.randrange(len(data)), dice.randrange(1, 400)
    data[at : at + length] = dice.choice((b"\0", b"\xff", dice.randbytes(1))) * len(data[at : at + length])


def _without(data: bytearray, dice: Dice) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.randrange(1, 4000)]


def _repeated(data: bytearray, dice: Dice) -> None:
    start, length, at = dice.randrange(len(data)), dice.randrange(1, 4000), dice.randrange(len(data))
    data[at:at] = data[start : start + length]


def _numbered(data: bytearray, dice: Dice) -> None:
    """A length, a size or a count that says something else: they stand early in all formats."""
    number = dice.choice((0, 1, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 16383, 65000))
    struct.pack_into(dice.choice(("<I", ">I")), data, dice.randrange(2, min(len(data) - 4, 700)), number)


_WAYS: tuple[Callable[[bytearray, Dice], None], ...] = (_turned, _overwritten, _without, _repeated, _numbered)


def mangled(data: bytes, dice: Dice) -> bytes:
    """One change or some. The checksums of a PNG are mostly set right, since nothing else would be looked at."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 3))):
        if len(changed) > 8:
            dice.choice(_WAYS)(changed, dice)
    return _summed(bytes(changed)) if dice.random() < 0.8 else bytes(changed)


def _summed(data: bytes) -> bytes:
    if not data.startswith(b"\x89PNG"):
        return data
    changed, at = bytearray(data), 8
    while at + 12 <= len(changed):
        end = at + 8 + int.from_bytes(changed[at : at + 4])
        if end + 4 > len(changed):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)


# -- answers -------------------------------------------------------------------------------------------------------


def _nested(depth: int) -> Any:
    value: Any = "https://tempfile.aiquickdraw.com/x"
    for _ in range(depth):
        value = {"response": [value]}
    return value


CONTROLS = "".join(map(chr, [*range(32), 127, 0x85, 0x9B, 0x2028, 0x202E, 0xFEFF, 0xD800]))
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 200, 2**63, -(2**200), 10**4000, 0.5, 1e308, math.nan, math.inf, -math.inf),
    *(-62_135_596_800_000, 253_402_300_799_999, "", " ", "0", "null", "{", "[]", '"\\"{}\\""', CONTROLS),
    *("success", "fail", "SUCCESS", "recordInfo is null", "https://tempfile.aiquickdraw.com/\x00", "x" * 5000),
    *([], {}, [[]], [None], {"": None}, _nested(7), _nested(400), json.dumps(_nested(20)), ["x"] * 999),
)
"""What a field may hold instead."""


def _renamed(key: str) -> Iterator[str]:
    yield from {key.lower(), key.upper(), key.title(), key + "\0", "_".join(key), f" {key}"} - {key}


def variants(value: Any) -> Iterator[Any]:
    """`value` with one thing in it changed, wherever it stands."""
    yield from VALUES
    yield [value]
    yield json.dumps(value)
    if isinstance(value, dict):
        for key, inner in value.items():
            others = {name: each for name, each in value.items() if name != key}
            yield others
            yield from (others | {name: inner} for name in _renamed(key))
            yield from (others | {key: changed} for changed in variants(inner))
    if isinstance(value, list):
        yield value * 2
        for at, inner in enumerate(value):
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in variants(inner))
    if isinstance(value, str) and value[:1] in ("{", "[") and value[1:2] in ('"', "{", "["):
        yield from (json.dumps(changed) for changed in variants(json.loads(value)))


def misspelt(body: bytes) -> Iterator[bytes]:
    """`body` as it may be when it is no longer what it was."""
    yield from (body[: len(body) * percent // 100] for percent in range(0, 100, 5))
    yield from (body[:at] + b"\xff\xfe\x80" + body[at:] for at in range(0, len(body), max(1, len(body) // 20)))
    yield from (body.decode().encode(name) for name in ("utf-16", "utf-32", "utf-8-sig", "utf-7"))
    yield from (body * 2, body + b"\0" * 99, b"\xef\xbb\xbf\xef\xbb\xbf" + body, b")]}',\n" + body, b"[" * 5000 + body)
    yield body.replace(b'"code"', b'"code": 500, "code"')
    yield body.replace(b'"code"', b'"code": 1e400, "data": NaN, "code"') + b" "
    yield body.replace(b'"data":', b'"data": null, "data":') + b"\n"
    yield body.replace(b"e", b"\\u0065").replace(b"200", b"2e2")
