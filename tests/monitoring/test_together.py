"""Metrics, rules, dashboard and runbook hold together, both ways."""

import re
import shlex
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from reconciler.cli import app
from reconciler.kie.answers import Odd
from reconciler.service.metrics import described
from tests.monitoring.queries import (
    MONITORING,
    Query,
    Selector,
    alerts,
    dashboard_queries,
    panels,
    read,
    rule_queries,
    rules,
    selectors,
    unit_test_queries,
    unit_tests,
)

OTHERS: Mapping[str, frozenset[str]] = {
    "up": frozenset({"job", "instance"}),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "job", "instance"}),
    "process_start_time_seconds": frozenset({"job", "instance"}),
    "process_resident_memory_bytes": frozenset({"job", "instance"}),
    "process_cpu_seconds_total": frozenset({"job", "instance"}),
    "process_open_fds": frozenset({"job", "instance"}),
    "process_max_fds": frozenset({"job", "instance"}),
}
"""What is not the reconciler's own: of Prometheus, and of the client library."""
TARGET = frozenset({"job", "instance"})
HEADINGS = ["Symptom", "What it means", "What to run", "How to see that it is over"]
RUNBOOK = MONITORING / "runbook"
OPERATIONS = MONITORING / "operations"
PAGES = sorted(page for page in RUNBOOK.glob("*.md") if page.name != "README.md")
GUIDES = sorted(OPERATIONS.glob("*.md"))
GROUP: Any = get_command(app)


def known() -> dict[str, dict[str, tuple[str, ...]]]:
    """Every name that a query may ask for, with its labels and their values; no values: any."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for metric in described(Odd):
        labels = dict(metric.labels)
        if metric.type == "histogram":
            found |= {metric.name + end: labels for end in ("_count", "_sum")}
            labels = {**labels, "le": ()}
        found[metric.name + ("_bucket" if metric.type == "histogram" else "")] = labels
    return found


def recorded() -> dict[str, dict[str, tuple[str, ...]]]:
    """What the recording rules make; `instance_reason:` has the gate's label, the others only the target's."""
    names = [rule["record"] for rule in rules() if "record" in rule]
    gates = {"reason": known()["reconciler_kie_gate_closed"]["reason"]}
    return {name: gates if name.startswith("instance_reason:") else {} for name in names}


def all_queries() -> list[Query]:
    return [*rule_queries(), *dashboard_queries(), *unit_test_queries()]


def asked() -> list[Selector]:
    return list(chain.from_iterable(map(selectors, all_queries())))


@pytest.fixture(scope="module")
def everything() -> list[Selector]:
    return asked()


# -- queries and metrics -------------------------------------------------------------------------------------------


def test_every_metric_that_is_asked_for_is_there(everything: list[Selector]) -> None:
    there = {*known(), *recorded(), *OTHERS}
    assert {(selector.where, selector.name) for selector in everything if selector.name not in there} == set()


def test_every_metric_is_looked_at() -> None:
    watched = chain.from_iterable(map(selectors, [*rule_queries(), *dashboard_queries()]))
    names = {re.sub("_(bucket|count|sum)$", "", selector.name) for selector in watched}
    assert {metric.name for metric in described(Odd)} - names == set()


def test_every_recorded_series_is_used_by_two_at_least() -> None:
    """One use would be better written where it is used."""
    queries = [*rule_queries(), *dashboard_queries()]
    users = {name: {q.where for q in queries if name in q.text and q.where != name} for name in recorded()}
    assert {name: found for name, found in users.items() if len(found) < 2} == {}


def test_every_label_and_value_that_is_asked_for_exists(everything: list[Selector]) -> None:
    there = known() | recorded() | {name: dict.fromkeys(labels, ()) for name, labels in OTHERS.items()}
    assert [wrong for selector in everything for wrong in _wrong(selector, there[selector.name])] == []


def _wrong(selector: Selector, labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    found: list[str] = []
    for label, operator, value in selector.matchers:
        values = labels.get(label, ())
        here = f"{selector.where}: {selector.name}{{{label}{operator}{value!r}}}"
        if label not in labels and label not in TARGET:
            found.append(f"{here}: no such label")
        wanted = value.split("|") if operator in {"=~", "!~"} else [value]
        found += [f"{here}: never {one!r}" for one in wanted if values and one not in values]
    return found


def test_a_name_a_label_and_a_value_that_are_not_there_are_noticed() -> None:
    (odd,) = selectors(Query("here", 'reconciler_tracks{state=~"ok|perfect",mood="blue"}'))
    assert _wrong(odd, known()["reconciler_tracks"]) == [
        "here: reconciler_tracks{state=~'ok|perfect'}: never 'perfect'",
        "here: reconciler_tracks{mood='blue'}: no such label",
    ]
    assert "reconciler_tracks_total" not in known()


def test_rules_ask_for_everything_by_its_job() -> None:
    """Every process that Prometheus scrapes has a `process_…` and an `up`, and a textfile all that the daemon has."""
    texts_own = ("job", "=", "x")
    scraped = [s for s in chain.from_iterable(map(selectors, rule_queries())) if s.name not in recorded()]
    assert scraped
    assert [s for s in scraped if not {("job", "=", "reconciler"), texts_own} & {*s.matchers}] == []


def test_counters_are_only_asked_how_they_grow() -> None:
    """A counter's own value says how long ago the process began."""
    counters = [metric.name for metric in described(Odd) if metric.type == "counter"]
    grown = re.compile(r"(?:increase|rate)\(\s*(\w+)")
    for query in [*rule_queries(), *dashboard_queries()]:
        for name in counters:
            asked_for = len(re.findall(rf"\b{name}\b", query.text))
            assert grown.findall(query.text).count(name) == asked_for, query


# -- alerts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_is_needed(name: str) -> None:
    rule = alerts()[name]
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert "{{" in rule["annotations"]["description"], "no value in it"
    assert "{{" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"monitoring/runbook/{name}.md"


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in PAGES} == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_is_seen_firing_and_quiet(name: str) -> None:
    checks = [check for test in unit_tests() for check in test.get("alert_rule_test", ())]
    expected = {bool(check["exp_alerts"]) for check in checks if check["alertname"] == name}
    assert expected == {True, False}


def test_the_day_of_a_daemon_has_every_series_that_alerts_look_at() -> None:
    """Else an alert may be quiet there for want of its series."""
    (day,) = (test for test in unit_tests() if test["name"] == "a day")
    fed = {selectors(Query("a day", series["series"]))[0].name for series in day["input_series"]}
    asked_for = {s.name for s in chain.from_iterable(map(selectors, rule_queries()))} - recorded().keys()
    assert asked_for - fed == set()


# -- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=lambda page: page.stem)
def test_a_page_is_built_like_the_others(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))
    if page.parent == RUNBOOK:
        assert text.startswith(f"# {page.stem}\n")


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=lambda page: page.stem)
def test_every_panel_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r'\bpanel\s+"([^"]+)"', page.read_text(encoding="utf-8"))
    assert {" ".join(name.split()) for name in named} <= {panel["title"] for panel in panels()}


def test_the_index_lists_every_page() -> None:
    index = (RUNBOOK / "README.md").read_text(encoding="utf-8")
    listed = [name for name in re.findall(r"\]\(([^)#]+\.md)\)", index) if not name.startswith("../../")]
    assert sorted(listed) == sorted([page.name for page in PAGES] + [f"../operations/{guide.name}" for guide in GUIDES])
    rows = dict(re.findall(r"^\| \[(\w+)\].*\| (\w+) \|$", index, re.MULTILINE))
    assert rows == {name: rule["labels"]["severity"] for name, rule in alerts().items()}


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines
    for line in lines:
        if line.startswith("reconciler "):
            words = shlex.split(line)[1:]
            GROUP.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("page", [RUNBOOK / "README.md", *PAGES, *GUIDES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target.partition("#")[0]).exists(), target


# -- dashboard -----------------------------------------------------------------------------------------------------


def test_the_dashboard_belongs_to_no_instance_of_grafana() -> None:
    board = read("dashboard.json")
    assert board["id"] is None
    assert board["schemaVersion"] >= 39
    assert board["templating"]["list"][0]["type"] == "datasource"
    sources = [panel["datasource"] for panel in panels()]
    sources += [target["datasource"] for panel in panels() for target in panel["targets"]]
    assert {(source["type"], source["uid"]) for source in sources} == {("prometheus", "${datasource}")}


def test_every_panel_says_what_it_shows() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read("dashboard.json")["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
