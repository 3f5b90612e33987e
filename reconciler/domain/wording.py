"""Text as it may be sent: one line, nothing invisible, no longer than allowed."""

import re

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_UNSEEN = re.compile(r"[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]+")
"""Soft hyphens, marks of direction, halves of characters. Joiners stay: emoji and Persian are written with them."""
_LONGEST = 40_000
"""Characters looked at: no prompt is longer, some columns are."""
_FILLER = re.compile(
    r"(generated( (vibe|track|music|song|cover|image))?|untitled( (track|song))?|new (track|song)|null|none|undefined"
    r"|n/?a|nan|\[object object\])?[\W\d_]*",
    re.IGNORECASE,
)
_DANGLING = " ,;:-–—|/&(“‘、，،"


def collapse(text: str | None) -> str:
    """Control characters and white space become single spaces, what cannot be seen goes."""
    return _SPACES.sub(" ", _UNSEEN.sub("", (text or "")[:_LONGEST])).strip()


def said(text: str | None) -> str:
    """The collapsed text, '' where it is one of the words that programs write in place of one."""
    words = collapse(text)
    return "" if _FILLER.fullmatch(words) else words


def fit_length(text: str, limit: int) -> str:
    """Collapsed, at most `limit` UTF-16 units (Java counts so), cut between words where those are short."""
    whole = collapse(text)
    units = whole.encode("utf-16-le")
    if len(units) <= 2 * limit:
        return whole
    head = units[: 2 * max(limit, 0)].decode("utf-16-le", "ignore")
    between_words = " " in whole[max(len(head) - 1, 0) : len(head) + 1]
    words = head if between_words else head.rpartition(" ")[0]
    return (words if 2 * len(words) > len(head) else head).rstrip(_DANGLING)
