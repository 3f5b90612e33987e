"""What a run did and where it left the tracks."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from reconciler.console import standings
from reconciler.domain.advice import advice, gate_advice
from reconciler.domain.states import AT_REST, Reason
from reconciler.domain.texts import amount, moment, plain
from reconciler.engine.events import Result


def document(result: Result) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "states": standings.document(result.states),
        "resolved": dict(result.resolved),
        "purchases": result.purchases,
        "repeat_purchases": result.repeats,
        "unknown_purchases": result.unknown,
        "credits_spent": round(result.credits_spent, 2),
        "writes": result.writes,
        "conflicts": result.conflicts,
        "failed_writes": result.failed_writes,
        "mistakes": result.mistakes,
        "gate_closed": [
            {"name": c.name, "shape": c.shape, "until": moment(c.until), "detail": c.detail}
            for c in result.closures.values()
        ],
        "stopped": result.stopped,
        "at_rest": result.at_rest,
        "next": next_step(result),
    }


def render(result: Result) -> Iterator[RenderableType]:
    """The result for people, 80 columns wide."""
    if result.states:
        yield standings.table(result.states)
    yield Text(_did(result))
    for closure in result.closures.values():
        until = f" until {moment(closure.until)}" if closure.until else ""
        yield Text(f"Purchases stopped{until} ({closure.name}): {plain(closure.detail)}")
    yield Text(next_step(result))


def next_step(result: Result) -> str:
    """What to do next, in a sentence or two."""
    said = [gate_advice(closure.name) for closure in result.closures.values()]
    if result.mistakes:
        said.append(f"{result.mistakes} steps failed by a mistake in this program; please report it.")
    if result.purse_spent and any(reason is Reason.BUDGET for _, reason in result.states):
        said.append("--max-purchases allows no more; run it again with 1 or more to buy more.")
    if result.stopped:
        said.append("The run was ended with work left; run it again to go on.")
    if said:
        return " ".join(dict.fromkeys(said))
    if not result.states:
        return "No track in scope was looked at."
    return "Nothing: every track looked at is good or within grace." if result.at_rest else _for_most(result)


def _for_most(result: Result) -> str:
    """Advice for what holds up most tracks."""
    (state, reason), tracks = max(
        ((where, n) for where, n in result.states.items() if where[0] not in AT_REST), key=lambda each: each[1]
    )
    told = advice(state, reason, refuses_key=result.refuses_key, keeps=result.keeps)
    return f"{tracks} {state}{f' ({reason})' if reason else ''}: {told}"


def _did(result: Result) -> str:
    resolved = ", ".join(f"{tracks} {how.replace('_', ' ')}" for how, tracks in sorted(result.resolved.items()))
    ends = f"{result.accepted} accepted" if result.purchases else ""
    lost = ((result.repeats, "repeats of a lost order"), (result.unknown, "with a lost answer"))
    ordered, price = f"{result.purchases}{_aside(*lost, first=ends)}", amount(result.credits_spent)
    unwritten = _aside((result.conflicts, "left that others changed or had locked"), (result.failed_writes, "failed"))
    return (
        f"Resolved: {resolved or 'none'}. Ordered: {ordered}, for {price} credits. "
        f"Rows written: {result.writes}{unwritten}."
    )


def _aside(*counts: tuple[int, str], first: str = "") -> str:
    said = ", ".join(filter(None, (first, *(f"{number} {what}" for number, what in counts if number))))
    return f" ({said})" if said else ""
