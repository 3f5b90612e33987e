"""Which answers are a clear no: no such picture, or none for whoever asks in this way."""

import json
import re

_CLEAR = frozenset({403, 404, 410})
_WORDS = frozenset({"invalidjwt", "jwtexpired", "expiredtoken", "invalidsignature"})
"""Of a signed URL that Supabase Storage takes no longer."""
_EXPIRED = re.compile(rb"<Code>\s*ExpiredToken\s*</Code>")
_LONGEST = 4096
"""Bytes of an error that is read."""


def refusal(status: int, body: bytes) -> str | None:
    """What was answered, if it is a clear no; else None.

    Supabase Storage answers 400 to nearly everything and says in JSON which status it means (its `error-handler.ts`).
    Google's and Amazon's stores answer 400 with XML where a signed URL's time is over.
    """
    if status in _CLEAR:
        return f"answered {status}"
    meant, word = _meant(body[:_LONGEST]) if status == 400 else (None, "")
    if meant in _CLEAR:
        return f"answered 400, meaning {meant}"
    return f"answered 400: {word}" if meant == 400 and word in _WORDS else None


def _meant(body: bytes) -> tuple[int | None, str]:
    """The status that is meant, and the error's name, of letters only."""
    if _EXPIRED.search(body):
        return 400, "expiredtoken"
    try:
        said = json.loads(body)
        status = int(said["statusCode"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None, ""
    return status, re.sub(r"[^a-z]", "", str(said.get("error")).lower())
