"""Pictures of what the benchmarks wrote with --json: medians, and lines from the least to the most.

    python benchmarks/plots.py benchmarks/results/*.json [--into FOLDER]

A file of which no picture is made is passed over, as is what a file does not hold. Needs `make bench`.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

BAR, EDGE = "#4c78a8", "#333333"


@dataclass(frozen=True, slots=True)
class Panel:
    """Of one measure, for all that has it and matches `of`. `spread`: its whole distribution, not its median."""

    measure: str
    axis: str
    of: str = ".*"
    scale: float = 1.0
    per: str = ""
    """What is told about the run under this name is divided by."""
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    title: str
    panels: Sequence[Panel]


PICTURES: Mapping[str, Sequence[Picture]] = {
    "throughput": [
        Picture(
            "throughput",
            "A track repaired: the program, and the work that nobody can spare",
            [
                Panel("wall", "ms per track", "floor|sqlite|postgres", 1000, "tracks"),
                Panel("cpu", "CPU, ms per track", "floor|sqlite|postgres", 1000, "tracks"),
            ],
        )
    ],
    "peers": [
        Picture(
            "peers",
            "A track repaired: the program and its peers, with tasks done at once and of two seconds",
            [
                Panel("wall_ms_per_track", "ms per track"),
                Panel("cpu_ms_per_track", "CPU, ms per track"),
            ],
        ),
        Picture(
            "killed",
            "Killed again and again",
            [
                Panel("purchases per track", "purchases per track"),
                Panel("still stuck", "tracks not repaired in the end, %", scale=100),
            ],
        ),
    ],
    "growth": [
        Picture(
            "growth",
            "What the size of the table costs, by engine and tracks",
            [
                Panel("empty sweep, ms", "empty sweep, ms"),
                Panel("first of 1000 stuck, ms", "first of 1,000 stuck, ms"),
                Panel("snapshot to count", "snapshot to bare count"),
            ],
        )
    ],
    "calls": [
        Picture(
            "calls",
            "Asking for a picture",
            [
                Panel("polls", "questions for a picture", spread=True),
                Panel("delay, share of the length", "noticed how late, % of the task's time", scale=100, spread=True),
            ],
        )
    ],
}


@dataclass(frozen=True, slots=True)
class Told:
    """One file. `figures`: values by what was measured, then by measure."""

    about: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, Sequence[float]]]

    def values(self, panel: Panel) -> dict[str, list[float]]:
        scale = panel.scale / (self.about[panel.per] if panel.per else 1)
        return {
            what: [value * scale for value in measured[panel.measure]]
            for what, measured in self.figures.items()
            if panel.measure in measured and re.fullmatch(panel.of, what)
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "plots")
    given = parser.parse_args()
    try:
        found = [read(path) for path in given.files]
    except (OSError, ValueError) as error:
        sys.exit(f"plots: {error}")
    given.into.mkdir(parents=True, exist_ok=True)
    for told in found:
        for picture in PICTURES.get(told.about["benchmark"], ()):
            path = given.into / f"{picture.name}.png"
            if draw(picture, told, path):
                print(path)


def read(path: Path) -> Told:
    """OSError or ValueError tells what is wrong with it."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        figures = {
            what: {measure: [float(value) for value in values] for measure, values in measured.items()}
            for what, measured in whole["figures"].items()
        }
        return Told(
            {name: whole[name] for name in whole.keys() - {"figures"} | {"benchmark", "at", "machine"}}, figures
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not what a benchmark writes with --json") from error


def draw(picture: Picture, told: Told, path: Path) -> bool:
    """False: the file holds none of it."""
    panels = [(panel, values) for panel in picture.panels if (values := told.values(panel))]
    if not panels:
        return False
    rows = max(len(values) for _, values in panels)
    height = 3.4 if panels[0][0].spread else 1.3 + 0.32 * rows
    figure, axes = plt.subplots(1, len(panels), figsize=(9, height), squeeze=False, layout="constrained")
    for place, (axis, (panel, values)) in enumerate(zip(axes[0], panels, strict=True)):
        (spread if panel.spread else bars)(axis, values)
        axis.set_xlabel(panel.axis)
        axis.spines[["top", "right"]].set_visible(False)
        if place and not panel.spread and values.keys() == panels[0][1].keys():
            axis.set_yticklabels([])
    figure.suptitle(picture.title, fontsize=11)
    figure.supxlabel(footer(told, panels), fontsize=7, color=EDGE)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return True


def footer(told: Told, panels: Sequence[tuple[Panel, Mapping[str, Sequence[float]]]]) -> str:
    counts = sorted(len(each) for _, values in panels for each in values.values())
    count = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    shown = "each track" if panels[0][0].spread else "medians, least to most"
    return f"{shown}; n = {count}; {told.about['machine']}; {told.about['at'][:10]}"


def bars(axis: Any, values: Mapping[str, Sequence[float]]) -> None:
    middles = [median(each) for each in values.values()]
    below = [middle - min(each) for middle, each in zip(middles, values.values(), strict=True)]
    above = [max(each) - middle for middle, each in zip(middles, values.values(), strict=True)]
    axis.barh(list(values), middles, xerr=[below, above], color=BAR, ecolor=EDGE, capsize=3, height=0.6)
    axis.invert_yaxis()
    for row, middle in enumerate(middles):
        number = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
        axis.annotate(f" {number}", (middle + above[row], row), va="center", fontsize=8)
    axis.set_xlim(0, 1.18 * max(max(each) for each in values.values()) or 1)


def spread(axis: Any, values: Mapping[str, Sequence[float]]) -> None:
    for what, each in values.items():
        shares = [100 * (place + 1) / len(each) for place in range(len(each))]
        axis.step(sorted(each), shares, where="post", label=what)
    axis.set_ylabel("share of tracks, %")
    axis.set_xlim(0, 1.1 * max(sorted(each)[int(0.98 * (len(each) - 1))] for each in values.values()))
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)


if __name__ == "__main__":
    main()
