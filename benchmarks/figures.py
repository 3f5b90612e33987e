"""Figures of a benchmark: medians with their spread, printed and kept as JSON with the machine and the date."""

import json
import os
import platform
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


class Figures:
    def __init__(self, name: str, **about: object) -> None:
        self._about = {"benchmark": name, **about}
        self._found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._found[what][name].append(value)

    def tell(self, path: Path | None = None) -> None:
        """Prints each median, and the least and the most; writes all to `path`, in five digits, a line for each."""
        for what, figures in self._found.items():
            for name, values in figures.items():
                middle = statistics.median(values)
                print(f"{what:28} {name:28} {middle:10.3f}   ({min(values):.3f} to {max(values):.3f}, n={len(values)})")
        if path is not None:
            machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
            whole = {**self._about, "at": datetime.now(UTC).isoformat(" ", "seconds"), "machine": machine}
            told = {
                what: {name: [float(f"{value:.5g}") for value in values] for name, values in figures.items()}
                for what, figures in self._found.items()
            }
            text = json.dumps({**whole, "figures": told}, indent=1)
            path.write_text(re.sub(r"(?<=[\[\d,])\n +(?=[\d.\]e-])", " ", text) + "\n", encoding="utf-8")
