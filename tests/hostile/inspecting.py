"""A program that inspects every hostile body, and many a mangled one, with little memory and time for each; one line of
JSON for each body is printed. A body that takes more is the one after the last line."""

import io
import json
import random
import sys
from typing import Any

from PIL import Image

from reconciler.domain.findings import Flawed, Sized
from reconciler.images.fit import prepare
from reconciler.images.formats import Header
from reconciler.images.probe import probe_whole, sized
from reconciler.kie.simulated import belongs_to
from reconciler.ports import Prepared
from tests.hostile.bodies import BODIES, PAINTING, TAKEN, TARGET
from tests.hostile.bounds import memory, processor_time_or_death
from tests.hostile.mutations import mangled

BYTES_PER_PIXEL = 16
BASE = 24_000_000
SECONDS = 10.0
MANGLED = 6


def inspect(data: bytes) -> tuple[Sized | Flawed, Prepared | Flawed]:
    found = probe_whole(data)
    pixels = found.width * found.height if isinstance(found, Header) else 0
    with memory(BASE + 2 * len(data) + BYTES_PER_PIXEL * pixels), processor_time_or_death(SECONDS):
        return sized(probe_whole(data)), prepare(data, TARGET, interim=False)


def told(name: str, data: bytes) -> dict[str, Any]:
    measured, made = inspect(data)
    size = (measured.width, measured.height) if isinstance(measured, Sized) else None
    if isinstance(made, Flawed):
        return {"name": name, "measured": size, "flaw": made.flaw, "detail": made.detail}
    with Image.open(io.BytesIO(made.data)) as picture:
        kind = (picture.format, picture.mode, *picture.size)
    return {"name": name, "measured": size, "flaw": None, "true": belongs_to(made.data, PAINTING), "kind": kind}


def mangle(name: str, data: bytes) -> dict[str, Any]:
    dice, flaws = random.Random(name), list[str]()
    for _ in range(MANGLED):
        _, made = inspect(mangled(data, dice))
        if isinstance(made, Flawed):
            flaws.append(made.flaw)
            assert made.detail[:250].isprintable(), made.detail
            assert len(made.detail) <= 250, made.detail
        else:
            again = prepare(made.data, TARGET, interim=False)
            assert isinstance(again, Prepared), f"{name}: what was made is {again}"
            assert again.data == made.data, name
    return {"mangled": name, "flaws": flaws}


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    for name, body in BODIES.items():
        say(told(name, body.make()))
    for name, body in TAKEN.items():
        say(mangle(name, body.make()))


if __name__ == "__main__":
    main()
