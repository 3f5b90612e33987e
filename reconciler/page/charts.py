"""The page's figures: where tracks stand, what was bought, what is left."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from reconciler.domain.states import UNDER_WAY, State
from reconciler.page.svg import element, figure, hatched, share
from reconciler.page.values import Fate
from reconciler.page.words import counted, grouped, spaced

HOURS = 24
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Part:
    """Of the bar, as its legend tells it. `look`: by which colour and pattern."""

    look: str
    name: str
    tells: str
    states: frozenset[State]


GIVEN_UP = frozenset({State.FAILED, State.INVALID})
PARTS = (
    Part("sound", "Good", "measured, durable, the target size", frozenset({State.OK})),
    Part(
        "soon",
        "Not judged yet",
        "settling, to be measured, or to be moved before its URL dies",
        frozenset({State.EXPIRING, State.UNVERIFIED, State.SETTLING}),
    ),
    Part("work", "Under way", "ordered, at Kie, or being fetched", UNDER_WAY),
    Part(
        "wait",
        "Waiting",
        "for the next try, for the budget, or for an answer",
        frozenset({State.MISSING, State.BELOW_TARGET, State.UNKNOWN, State.BACKING_OFF}),
    ),
    Part("over", "Given up", "until the row changes or somebody decides", GIVEN_UP),
)

FATES: Mapping[Fate, tuple[str, str]] = {
    Fate.GOOD: ("sound", "good"),
    Fate.OPEN: ("wait", "open or unknown"),
    Fate.FAILED: ("over", "failed"),
}


def by_part(tracks: Mapping[State, int]) -> list[tuple[Part, int]]:
    return [(part, sum(tracks.get(state, 0) for state in part.states)) for part in PARTS]


def state_bar(tracks: Mapping[State, int]) -> Markup:
    parts = [(part, count) for part, count in by_part(tracks) if count]
    total = sum(count for _, count in parts)
    told = "; ".join(f"{part.name}: {grouped(count)}" for part, count in parts) or "no tracks"
    drawn, at = list[Markup](), 0.0
    for part, width in zip((part for part, _ in parts), _widths([count / total for _, count in parts]), strict=True):
        drawn.append(_rect(at, width, 0, 28, hatched(part.look)))
        at += width
    return figure("statebar", "Tracks by where they stand", told, *drawn, height=28)


def _widths(shares: Sequence[float]) -> list[float]:
    """So that none is too thin to be seen."""
    wide = [max(part, 0.012) for part in shares]
    return [part / sum(wide) for part in wide]


def swatch(look: str) -> Markup:
    """A square for a legend. Its pattern is one that a figure of the page has."""
    square = element("rect", width="100%", height="100%", rx=3, fill=hatched(look))
    return element("svg", square, class_="swatch", width=14, height=14, aria_hidden="true")


# -- purchases -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hour:
    """One of the last, `begins` included."""

    begins: datetime
    counts: Mapping[Fate, int]

    @property
    def all(self) -> int:
        return sum(self.counts.values())


def hours(bought: Iterable[tuple[datetime, Fate]], now: datetime) -> list[Hour]:
    """The last `HOURS`, the oldest first. What is older counts in the first one, what is later in the last."""
    counts: list[Counter[Fate]] = [Counter() for _ in range(HOURS)]
    for at, fate in bought:
        ago = min(max((now - at) // HOUR, 0), HOURS - 1)
        counts[HOURS - 1 - ago][fate] += 1
    return [Hour(now - HOUR * (HOURS - number), count) for number, count in enumerate(counts)]


_HEIGHT, _TOP, _BASE = 170, 24, 144


def purchases(by_hour: Sequence[Hour], per_hour: int) -> Markup:
    peak = max((hour.all for hour in by_hour), default=0)
    top = max(peak, per_hour if per_hour <= 4 * max(peak, 1) else 0, 4)
    scale = (_BASE - _TOP) / top
    drawn = _grid(top, scale)
    for number, hour in enumerate(by_hour):
        drawn += _stack(number, hour, scale)
    if per_hour <= top:
        drawn.append(_limit(per_hour, scale))
    drawn += _axis()
    total = sum(hour.all for hour in by_hour)
    told = ", ".join(f"{sum(hour.counts.get(fate, 0) for hour in by_hour)} {name}" for fate, (_, name) in FATES.items())
    return figure(
        "purchases",
        "Purchases by hour, over the last day",
        f"{counted(total, 'purchase')}: {told}. At most {peak} in an hour; the budget allows {per_hour}.",
        *drawn,
        height=_HEIGHT,
    )


def _stack(number: int, hour: Hour, scale: float) -> list[Markup]:
    drawn, base = [], float(_BASE)
    for fate, (look, _) in FATES.items():
        height = hour.counts.get(fate, 0) * scale
        if height:
            base -= height
            drawn.append(_rect((number + 0.14) / HOURS, 0.72 / HOURS, base, height, hatched(look)))
    return drawn


def _rect(x: float, width: float, y: float, height: float, fill: str) -> Markup:
    return element("rect", x=share(x), width=share(width), y=f"{y:.1f}", height=f"{height:.1f}", fill=fill)


def _grid(top: int, scale: float) -> list[Markup]:
    lines = []
    for value in (0, top // 2, top):
        y = _BASE - value * scale
        lines.append(element("line", x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        if value:
            lines.append(element("text", grouped(value), x="0", y=f"{y - 4:.1f}"))
    return lines


def _limit(per_hour: int, scale: float) -> Markup:
    y = _BASE - per_hour * scale
    line = element("line", x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="limit", stroke_dasharray="6 4")
    return line + element("text", f"budget {grouped(per_hour)} an hour", x="100%", y=f"{y - 5:.1f}", text_anchor="end")


def _axis() -> list[Markup]:
    places = (("0%", "start", "24 h ago"), ("50%", "middle", "12 h ago"), ("100%", "end", "now"))
    return [element("text", word, x=x, y=_BASE + 18, text_anchor=anchor) for x, anchor, word in places]


def gauge(name: str, used: int, limit: int) -> Markup:
    """How much of a budget is used."""
    part = min(used / limit, 1.0) if limit else 1.0
    drawn = [element("rect", width="100%", height=10, rx=5, class_="trough")]
    if used:
        look = "fill-over" if used >= limit else "fill-work"
        drawn.append(element("rect", width=share(max(part, 0.02)), height=10, rx=5, class_=look))
    return figure(f"gauge-{name}", f"Budget of the {spaced(name)}", f"{used} of {limit} used", *drawn, height=10)
