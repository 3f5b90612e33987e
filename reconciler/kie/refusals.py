"""Why Kie refuses: by its words first, then by its code, since 400, 422 and 500 each mean several things by turns."""

import re
from collections.abc import Mapping

from reconciler.domain.findings import Call, Refusal

_WORDS: tuple[tuple[Refusal, re.Pattern[str]], ...] = tuple(
    (refusal, re.compile("|".join(words), re.IGNORECASE | re.DOTALL))
    for refusal, words in (
        (Refusal.CREDITS, (r"\bcredits?\b.*\binsufficient\b", r"\binsufficient\b.*\bcredits?\b", r"\bbalance\b")),
        (
            Refusal.CONTENT,
            (r"safety system", r"\bflagged\b", r"(?<!case-)(?<!case )\bsensitive", r"\bmoderat(or|ion)\b"),
        ),
        (Refusal.CONTENT, (r"\bcopyright", r"\bprohibited\b", r"\bviolat")),
        (Refusal.RATE, (r"\bfrequency\b", r"\brate.limit", r"\btoo high\b", r"\btoo many\b")),
        (Refusal.REQUEST, (r"not within the range of allowed options", r"\bis required\b", r"\bnot published\b")),
        (Refusal.OUTAGE, (r"internal error", r"\bis busy\b", r"upload failed", r"no response", r"\btime-?out\b")),
        (Refusal.OUTAGE, (r"task id is blank", r"createtaskrep is blank")),
    )
)

_CODES: Mapping[int, Refusal] = {
    400: Refusal.CONTENT,  # or format; but content sets one track back, where a wrong request stops them all
    401: Refusal.KEY,
    402: Refusal.CREDITS,
    404: Refusal.REQUEST,
    408: Refusal.OUTAGE,
    409: Refusal.OUTAGE,
    422: Refusal.REQUEST,
    429: Refusal.RATE,
    430: Refusal.RATE,
    433: Refusal.KEY_CAP,
    451: Refusal.REQUEST,
    455: Refusal.OUTAGE,
    500: Refusal.OUTAGE,
    501: Refusal.OUTAGE,
    505: Refusal.REQUEST,
    531: Refusal.OUTAGE,
    550: Refusal.OUTAGE,
}

_NO_SUCH_PATH = frozenset({404, 405})
"""Of a page these say nothing of what was asked: Kie's API is not there, or kie.base_url leads elsewhere."""

_STATUSES: Mapping[int, Refusal] = {
    **dict.fromkeys(_NO_SUCH_PATH, Refusal.OUTAGE),
    401: Refusal.KEY,
    402: Refusal.CREDITS,
    403: Refusal.OUTAGE,  # the edge's, not the API's
    408: Refusal.OUTAGE,
    429: Refusal.RATE,
}

_CALLS: Mapping[Refusal, Call] = {
    Refusal.CONTENT: Call.REJECTED,
    Refusal.REQUEST: Call.REJECTED,
    Refusal.CREDITS: Call.NO_CREDITS,
    Refusal.KEY_CAP: Call.NO_CREDITS,
    Refusal.KEY: Call.UNAUTHORIZED,
    Refusal.RATE: Call.RATE_LIMITED,
    Refusal.OUTAGE: Call.SERVER_ERROR,
}

_LONGEST = 2000
"""Characters read: Kie says sentences, and the patterns take time by the square of what they read."""

_ABSENT = re.compile(r"\brecord ?info is null\b|\brecord does not exist\b|\brecord not found\b", re.IGNORECASE)


def by_words(words: str) -> Refusal | None:
    words = words[:_LONGEST]
    return next((refusal for refusal, pattern in _WORDS if pattern.search(words)), None)


def of(code: int, words: str) -> Refusal:
    """Why a body with this code and these words refuses; an unknown code is an outage."""
    return by_words(words) or _CODES.get(code, Refusal.OUTAGE)


def of_status(status: int) -> Refusal:
    """The same for an HTTP error without a readable body. Its words are an edge's, and are not read."""
    return _STATUSES.get(status, Refusal.REQUEST if 400 <= status < 500 else Refusal.OUTAGE)


def call(refusal: Refusal) -> Call:
    return _CALLS[refusal]


def call_of_status(status: int) -> Call:
    return Call.MALFORMED if status in _NO_SUCH_PATH else call(of_status(status))


def known(code: int) -> bool:
    return code == 200 or code in _CODES


def absent(code: int, words: str, *, null: bool) -> bool:
    """The faces of "not found". `null`: the body says `data: null`."""
    match code:
        case 200:
            return null
        case 404:
            return by_words(words) is None
        case 422 | 500:
            return _ABSENT.search(words[:_LONGEST]) is not None
        case _:
            return False
