"""The desk for tests in another process: GET /_simulated/book, POST and DELETE /_simulated/rules, all JSON.

A rule is `{"behaviour": {"kind": "Refuse", "code": 455, "message": "…"}, "operation": "create", "times": 1}`: the
kinds and fields are the classes and fields of `behaviour` and `rules`. Durations are seconds, times ISO 8601, bytes
text.
"""

import json
import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from reconciler.kie.simulated.behaviour import (
    AnswerPicture,
    Break,
    Fail,
    NotFound,
    Notify,
    OmitTaskId,
    Refuse,
    Reply,
    Stall,
    Succeed,
)
from reconciler.kie.simulated.book import Book
from reconciler.kie.simulated.rules import Rule, Script
from reconciler.kie.simulated.wire import Request, Response, json_response

DESK: Final = "/_simulated/"
_KINDS: Final = {
    kind.__name__: kind
    for kind in (Refuse, Reply, Break, OmitTaskId, AnswerPicture, NotFound, Succeed, Fail, Stall, Notify)
}
_T = TypeVar("_T")


def answer_at_desk(request: Request, book: Book, script: Script) -> Response:
    match request.method, request.url_path.removeprefix(DESK):
        case "GET", "book":
            return json_response(book.as_json())
        case "POST", "rules":
            return _add_rules(request.body, script)
        case "DELETE", "rules":
            script.clear()
            return json_response({})
        case _:
            return json_response({"error": "there is GET book, POST rules and DELETE rules"}, 404)


def _add_rules(body: bytes, script: Script) -> Response:
    try:
        rules = rules_from_json(json.loads(body))
    except ValueError as wrong:
        return json_response({"error": f"no rule was added: {wrong}"}, 400)
    script.add(*rules)
    return json_response({"added": len(rules)})


def rules_from_json(parsed: Any) -> list[Rule]:
    """One rule or a list of them. Raises ValueError for what is no rule."""
    try:
        return [_rule(each) for each in (parsed if isinstance(parsed, list) else [parsed])]
    except (ValueError, TypeError, KeyError, OverflowError) as wrong:
        raise ValueError(f"no rule: {wrong!r}") from wrong


def _rule(fields: Mapping[str, Any]) -> Rule:
    behaviour = dict(fields["behaviour"])
    kind = _KINDS[behaviour.pop("kind")]
    rest = {name: value for name, value in fields.items() if name != "behaviour"}
    return Rule(behaviour=kind(**_read(kind, behaviour)), **_read(Rule, rest))


def _read(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: _value(hints.get(name), value) for name, value in fields.items()}


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(each for each in get_args(hint) if each is not type(None))
    if value is None:
        return None
    if hint is timedelta:
        return timedelta(seconds=value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if hint is bytes:
        return str.encode(value)
    if get_origin(hint) is tuple:
        return tuple(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, StrEnum) else value
