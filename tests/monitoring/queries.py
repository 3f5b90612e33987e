"""Every PromQL expression under monitoring/, and what it asks for."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from promql_parser import MatchOp

MONITORING = Path(__file__).parents[2] / "monitoring"
TEXTS_PROBE = re.compile(r"printf \"([^\"]+)\"[^|]*\|\s*query")
OPERATORS = ((MatchOp.Equal, "="), (MatchOp.NotEqual, "!="), (MatchOp.Re, "=~"), (MatchOp.NotRe, "!~"))
GRAFANA = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}


@dataclass(frozen=True)
class Query:
    """`where`: the rule, panel or test that asks it."""

    where: str
    text: str


@dataclass(frozen=True)
class Selector:
    """One metric in a query: its name, and each of its matchers as label, operator (= != =~ !~), value."""

    where: str
    name: str
    matchers: tuple[tuple[str, str, str], ...]


@cache
def read(name: str) -> dict[str, Any]:
    text = (MONITORING / name).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in read("rules.yml")["groups"] for rule in group["rules"]]


def alerts() -> Mapping[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> list[dict[str, Any]]:
    """All panels but rows, those within rows included."""
    outer: list[dict[str, Any]] = read("dashboard.json")["panels"]
    return [panel for each in outer for panel in (each, *each.get("panels", ())) if panel["type"] != "row"]


def rule_queries() -> Iterator[Query]:
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        yield Query(name, rule["expr"])
        for text in rule.get("annotations", {}).values():
            yield from (Query(f"{name}, its text", asked) for asked in TEXTS_PROBE.findall(text))


def dashboard_queries() -> Iterator[Query]:
    for panel in panels():
        yield from (Query(panel["title"], target["expr"]) for target in panel["targets"])
    for variable in read("dashboard.json")["templating"]["list"]:
        if variable["type"] == "query":
            yield Query(variable["name"], re.sub(r"label_values\((.+), *\w+\)", r"\1", variable["query"]["query"]))


def unit_tests() -> list[dict[str, Any]]:
    return [test for name in ("tests.yml", "tests-of-days.yml") for test in read(name)["tests"]]


def unit_test_queries() -> Iterator[Query]:
    """The series that the rules' own tests feed, and what they ask."""
    for test in unit_tests():
        yield from (Query(test["name"], fed["series"]) for fed in test["input_series"])
        yield from (Query(test["name"], asked["expr"]) for asked in test.get("promql_expr_test", ()))


def selectors(query: Query) -> list[Selector]:
    """Raises ValueError when it is no PromQL."""
    text = query.text.replace("%s", "x")
    for variable, value in GRAFANA.items():
        text = text.replace(variable, value)
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name, f"{query.where}: a selector without a name"
            matchers = tuple((m.name, _operator(m), m.value) for m in node.matchers.matchers)
            selector = Selector(query.where, node.name, matchers)
            if selector not in found:
                found.append(selector)

    promql_parser.walk(promql_parser.parse(text), visit)
    return found


def _operator(matcher: promql_parser.Matcher) -> str:
    return next(text for kind, text in OPERATORS if kind == matcher.op)
