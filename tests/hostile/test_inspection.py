"""What inspection makes of every hostile body, in a process that may take little memory and time for each."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.bodies import BODIES, SIZE, TAKEN
from tests.hostile.inspecting import MANGLED

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_body_becomes_what_it_must_within_little_memory_and_time() -> None:
    inspected, mangled = (list(group) for group in inspection())
    for (name, body), told in zip(BODIES.items(), inspected, strict=True):
        assert told["name"] == name
        assert (told["flaw"], told["measured"]) == (body.flaw, body.size and list(body.size)), name
        assert told["flaw"] or told["true"] or not body.true, f"{name}: it no longer shows what it showed"
        assert told["flaw"] or told["kind"] == ["JPEG", "RGB", *SIZE], name
        assert told.get("detail", "").isprintable(), name
    assert [told["mangled"] for told in mangled] == list(TAKEN)
    flaws = [flaw for told in mangled for flaw in told["flaws"]]
    assert {"truncated", "undecodable"} <= set(flaws)
    assert len(flaws) < MANGLED * len(TAKEN), "nothing that was mangled reached the decoders' ends"


def inspection() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the program told of bodies, and of mangled ones."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.hostile.inspecting"]
    ended = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, f"after {lines[-1:]}: {ended.returncode} {ended.stderr[-2000:]}"
    return [line for line in lines if "name" in line], [line for line in lines if "mangled" in line]
