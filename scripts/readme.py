"""Makes the generated parts of README.md from the code; with --check only says whether they are as they should be."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from reconciler import cli
from reconciler.config.durations import format_duration
from reconciler.config.reference import CREDENTIALS, keys, sections
from reconciler.database.tables import ALL
from reconciler.domain.advice import MEANINGS, advice
from reconciler.domain.catalogue import MODELS
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.domain.texts import amount
from reconciler.kie.answers import Odd
from reconciler.service.metrics import described

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOLLARS_PER_CREDIT = 0.005
"""By Kie's price list of November 2026."""
MOST_VALUES = 10
"""Of a label, that are told in a table."""
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(text: str) -> str:
    """The README's text with every generated part made anew. KeyError for one that nobody makes."""
    return _PART.sub(lambda part: part[1] + "".join(line + "\n" for line in PARTS[part["name"]]()) + part[3], text)


# -- money ---------------------------------------------------------------------------------------------------------


def cost() -> Iterator[str]:
    policy = Policy()
    yield from table(
        ("model", "credits a picture", "dollars", "used"),
        ((f"`{m.name}`", amount(m.price), dollars(m.price), _use(m.name, policy)) for m in MODELS.values()),
    )
    dearest = max(MODELS[name].price for name in (policy.model, *policy.fallback_models))
    yield ""
    yield f"At worst, at the defaults and with the dearest model of those used ({dearest:g} credits a picture):"
    yield ""
    rows = ((per, keys_, str(n), amount(n * dearest), dollars(n * dearest)) for per, keys_, n in _limits(policy))
    yield from table(("in", "limited by", "pictures", "credits", "dollars"), rows)


def _use(model: str, policy: Policy) -> str:
    if model == policy.model:
        return "by default"
    return "by default, when all prompts are refused" if model in policy.fallback_models else "when configured"


def _limits(policy: Policy) -> Iterator[tuple[str, str, int]]:
    window = format_duration(policy.purchase_window)
    yield f"any {window}", "`kie.purchase_limit`", policy.purchase_limit
    yield "any hour", "`budget.per_hour`", policy.per_hour
    yield "any day", "`budget.per_day`", policy.per_day
    yield "the life of a track", "`budget.per_track`", policy.per_track
    yield "the same, with its one repeat of a lost order", "`budget.per_track`", policy.per_track + 1


def dollars(credits: float) -> str:
    """To the cent from a dollar on, else exact."""
    value = credits * DOLLARS_PER_CREDIT
    return f"${value:.2f}" if value >= 1 else f"${value:.4f}".rstrip("0")


# -- words ---------------------------------------------------------------------------------------------------------


def states() -> Iterator[str]:
    rows = ((f"`{state}`", "stuck" if state.stuck else "", MEANINGS[state], advice(state, None)) for state in State)
    yield from table(("state", "", "meaning", "what goes on by itself"), rows)


def reasons() -> Iterator[str]:
    rows = ((f"`{reason}`", advice(State.MISSING, reason)) for reason in Reason)
    yield from table(("reason", "what it means, or what to do"), rows)


# -- commands ------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    group: Any = typer.main.get_command(cli.app)
    yield from ("`reconciler [OPTIONS] COMMAND`, or `python -m reconciler`. Before the command:", "")
    yield from _options(group)
    for name, command in group.commands.items():
        arguments = "".join(f" {p.metavar}" for p in command.params if not is_option(p))
        yield from ("", f"### reconciler {name}{arguments}", "", " ".join(command.help.split()), "")
        yield from _options(command)


def _options(command: Any) -> Iterator[str]:
    rows = ((f"`{_usage(parameter)}`", _says(parameter)) for parameter in command.params if is_option(parameter))
    yield from table(("option", "does"), rows)


def _usage(parameter: Any) -> str:
    name = "`, `".join(parameter.opts)
    return name if parameter.is_flag else f"{name} {parameter.metavar or _value(parameter)}"


def is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


def _value(parameter: Any) -> str:
    kind: type = parameter.type_descriptor.annotation
    return "|".join(kind) if issubclass(kind, StrEnum) else {int: "N", Path: "PATH"}[kind]


def _says(parameter: Any) -> str:
    shown = parameter.default is not None and not parameter.is_flag
    return f"{parameter.help or ''} Default: `{parameter.default}`." if shown else parameter.help or ""


def exit_codes() -> Iterator[str]:
    yield from table(("exit code", "meaning"), ((f"`{code}`", said) for code, said in codes().items()))


def codes() -> Mapping[int, str]:
    """As the command line's module tells them: "Exit codes: 0 this; 1 that." """
    told = re.search(r"Exit codes: (.*?)\.\s", " ".join((cli.__doc__ or "").split()) + " ")
    parts = (part.strip().partition(" ") for part in told[1].split(";")) if told else ()
    return {int(code): said for code, _, said in parts}


# -- metrics -------------------------------------------------------------------------------------------------------


def metrics() -> Iterator[str]:
    rows = ((f"`{each.name}`", each.type, _labels(each.labels), each.help) for each in described(tuple(Odd)))
    yield from table(("metric", "type", "labels", "meaning"), rows)


def _labels(labels: Mapping[str, tuple[str, ...]]) -> str:
    """The values of a label, where they are few; states and reasons are told above."""
    told = (f"`{name}`{_values(values)}" for name, values in labels.items())
    return ", ".join(told)


def _values(values: tuple[str, ...]) -> str:
    return f": {', '.join(values)}" if 0 < len(values) <= MOST_VALUES else ""


# -- configuration -------------------------------------------------------------------------------------------------


def credentials() -> Iterator[str]:
    yield from table(("file", "key"), ((f"`{name}`", f"`{path}`") for name, path in CREDENTIALS.items()))


def configuration() -> Iterator[str]:
    for number, (section, _, said) in enumerate(sections()):
        mine = [key for key in keys() if key.section == section]
        commented = any(key.comment for key in mine)
        yield from ("",) * bool(number) + (f"**[{section}]** {said}", "")
        rows = ((f"`{key.key}`", f"`{key.default}`", key.comment)[: 2 + commented] for key in mine)
        yield from table(("key", "default", "meaning")[: 2 + commented], rows)


# -- the database --------------------------------------------------------------------------------------------------


def uninstall() -> Iterator[str]:
    yield "```sql"
    yield from (f"DROP TABLE {model._meta.table_name};" for model in reversed(ALL))  # noqa: SLF001  peewee's own way
    yield "DROP INDEX IF EXISTS reconciler_without_image;"
    yield "```"


# -- the project ---------------------------------------------------------------------------------------------------


def promises() -> Iterator[str]:
    """One row for each, with the words of the file that states it; others say more of it."""
    stated, files = dict[int, str](), defaultdict[int, list[str]](list)
    for path in sorted((ROOT / "tests" / "promises").glob("test_[0-9][0-9]_*.py")):
        who, _, said = first_sentence(path).partition(": ")
        number = int(who.removeprefix("More of ").lower().removeprefix("promise "))
        files[number].append(f"`{path.relative_to(ROOT)}`")
        if who == f"Promise {number}":
            stated[number] = said[:1].upper() + said[1:]
    rows = ((str(number), stated[number], "<br>".join(files[number])) for number in sorted(files))
    yield from table(("", "promise", "proof"), rows)


def layout() -> Iterator[str]:
    package = ROOT / "reconciler"
    rooms = sorted(path.parent for path in package.glob("*/__init__.py"))
    modules = sorted(path for path in package.glob("*.py") if not path.stem.startswith("__"))
    rows = [(f"`{path.relative_to(ROOT)}`", first_sentence(path)) for path in modules]
    rows += [(f"`{path.relative_to(ROOT)}/`", first_sentence(path / "__init__.py")) for path in rooms]
    yield from table(("room", "what is in it"), rows)


def first_sentence(path: Path) -> str:
    """Of the module's docstring: its first paragraph."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(told.partition("\n\n")[0].split())


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = tuple(headings)
    for cells in (heads, ("---",) * len(heads), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "cost": cost,
    "states": states,
    "reasons": reasons,
    "commands": commands,
    "exit-codes": exit_codes,
    "credentials": credentials,
    "metrics": metrics,
    "configuration": configuration,
    "uninstall": uninstall,
    "promises": promises,
    "layout": layout,
}


def main(arguments: list[str]) -> int:
    """0: as it should be. 1 with --check: it is not."""
    old = README.read_text(encoding="utf-8")
    new = generated(old)
    if arguments == ["--check"]:
        if old != new:
            sys.stderr.write("README.md: its generated parts are not as the code says; run `make readme`\n")
        return int(old != new)
    if old != new:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
