"""Milder words for a refused prompt: the same picture, as far as it can be had without what filters dislike."""

import re
from functools import lru_cache

from reconciler.domain.names import NAME, german, without_names
from reconciler.domain.wording import collapse, fit_length, said
from reconciler.domain.wordlists import HARSH, LINKS, NAMES, STYLES, UNSPACED

LIMIT = 300
_LOOKED_AT = 2000
_NEUTRAL = "A wide, painterly landscape under an open sky, with soft natural light and harmonious colours."
_EMPTY_OF = "No people, no text, no lettering."


def _pattern(words: str) -> str:
    return f"(?:{words.replace(chr(10), '')})"


def _whole(words: str) -> str:
    return rf"(?<!\w){_pattern(words)}(?!\w)"


_WEB = re.compile(
    r"(?:https?://|www\.)\S+|[^\s@]{1,64}@[^\s@]+\.\w+|@\w[\w.]*|(?<!\S)--\w+(?: [\w:.]+)?|#(?=\w)", re.IGNORECASE
)
"""Addresses, handles, and the switches of other picture services."""
_CAPTION = r"(?:(?:with )?(?:the )?(?:words?|text|title|caption|slogan|lettering)(?: (?:saying|reading))? )?"
_QUOTED = re.compile(
    _CAPTION + r"(?:“[^“”]*[”“]|„[^„“”]*[“”]|(?<!\d)\"[^\"]*\"|«[^«»]*»|»[^«»]*«|『[^『』]*』|《[^《》]*》|`[^`]*`"
    r"|「[^「」]*」(?:という(?:文字|言葉|名前))?|(?<!\w)['‘‚][^'‘’‚]{1,200}['’‘](?!\w))",
    re.IGNORECASE,
)
_QUOTES = re.compile(r"[“”„\"«»「」『』《》`]")
_MARKED = re.compile(r"[^\s,.;:!?]* ?[™®©℠]")
_BEYOND = "with|and|at|in|on|over|under|of|through|showing|mit|und|con|y|avec|et|с|и"
_PLACES = "in|at|on|near|over|under|for|im|am|auf|vor|en|sur|sous|dans|na|em|на|в"
_STYLED = re.compile(
    rf"(?<!\w){_pattern(STYLES)} .*?(?=[,.;:!?|()]|$| (?:{_BEYOND})(?!\w))",
    re.IGNORECASE,
)
_KNOWN = re.compile(rf"{_whole(NAMES)}(?:[ -](?:styled?|inspired|esque|aesthetics?)(?!\w))?", re.IGNORECASE)
_HARSH_CLAUSE = re.compile(
    rf"(?:^|(?<=[,.;:] ))(?:(?:the|an?) )?{_whole(HARSH)} (?:{_PLACES}|everywhere)(?!\w)[^,.;:!?]*", re.IGNORECASE
)
_HARSH = re.compile(
    rf"(?:(?<!\w)an? )?{_whole(HARSH)}|{_pattern(UNSPACED)}(?:风格的?|風格的?|風の?|のような|스타일의?)?", re.IGNORECASE
)

_UNWANTED = (_WEB, _QUOTED, _QUOTES, _MARKED, _STYLED, _HARSH_CLAUSE, _HARSH)

_STRANDED = re.compile(rf"(?<!\w)(?:(?:{_pattern(LINKS)})(?!\w) ?)+(?=[,.;:!?)|]|$)", re.IGNORECASE)
_ORPHAN = re.compile(
    rf"(?<!\w)(?:an?|the|by|of|with|holding|wearing|mit|con|avec|com) (?=(?:{_PLACES}|of|by|with|and|or|from)(?!\w))",
    re.IGNORECASE,
)
_HOLLOW = re.compile(r"[(\[][\s,.;:]*[)\]]")
_LOOSE = re.compile(r" +(?=[,.;:!?)])|(?<=[(\[]) +")
_REPEATED = re.compile(r"([,.;:!?|]) ?[,.;:|]+(?=\s|$)")
_TITLE_SHARE = 0.75


@lru_cache(maxsize=100)
def soften(prompt: str) -> str:
    """At most 300 characters without names, brands, quotations and harsh words; never empty; the same when repeated."""
    text = _mild(collapse(prompt[:_LOOKED_AT]), LIMIT, title_from=4)
    return text if _paints(text) else neutral(None, None)


def neutral(mood: str | None, vibe: str | None) -> str:
    """A picture that nobody can object to, in the track's mood and vibe where those are mild."""
    tones = (("Mood", _tone(mood, 60)), ("Vibe", _tone(vibe, 90)))
    notes = (f"{name}: {tone.rstrip('.!?')}." for name, tone in tones if _says(tone))
    return " ".join((_NEUTRAL, *notes, _EMPTY_OF))


def _tone(text: str | None, limit: int) -> str:
    return _mild(said(text)[: 4 * limit], limit, title_from=1)


def _mild(text: str, limit: int, title_from: int) -> str:
    """Softened until nothing changes: what one removal brings together, the next one sees."""
    while (milder := fit_length(_once(text, title_from), limit)) != text:
        text = milder
    return text


def _once(text: str, title_from: int) -> str:
    text = _plain_case(text, title_from)
    for pattern in _UNWANTED:
        text = pattern.sub("", text)
    return _tidy(without_names(_KNOWN.sub(NAME, text)))


def _plain_case(text: str, title_from: int) -> str:
    """Where All Words Are Capitals, capitals say nothing about names."""
    words = re.findall(r"[^\W\d_]{4,}", text)
    capitals = sum(word[0] != word[0].lower() for word in words)
    titled = len(words) >= title_from and capitals >= _TITLE_SHARE * len(words)
    return text.lower() if titled and not german(text) else text


def _tidy(text: str) -> str:
    text = collapse(_HOLLOW.sub("", text))
    text = _STRANDED.sub("", _ORPHAN.sub("", text))
    text = _REPEATED.sub(r"\1", _LOOSE.sub("", text))
    return text.lstrip(" ,.;:!?-–—|)&、，،。").rstrip(" ,;:-–—|(&、，،")


def _paints(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]{3,}", text)) >= 2 or len(re.findall(r"[\u0e00-\u0eff\u3040-\ud7af]", text)) >= 4


def _says(text: str) -> bool:
    return bool(re.search(r"[^\W\d_]{2,}|[\u3040-\ud7af]", text))
