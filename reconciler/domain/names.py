"""Takes out of a text what is written like the names of people, places and brands."""

import re
from dataclasses import dataclass

from reconciler.domain.wordlists import LINKS, PLAIN_CAPITALS

NAME = "\ue000"
"""Stands for a name that is already known to be one."""

_LINKS = frozenset(LINKS.replace("\n", "").split("|"))
_GERMAN = re.compile(
    r"\b(der|das|und|mit|im|ein|eine|einem|einen|einer|über|unter|auf|von|dem|zum|zur)\b", re.IGNORECASE
)
_PARTICLES = frozenset(("van", "von", "bin", "ibn"))
_LIKENESS = frozenset(
    ("portrait", "painting", "photo", "picture", "image", "illustration", "drawing", "silhouette", "statue")
)
_SOMEBODY = frozenset(("a", "A", "an", "An", "one", "One", "lone", "lonely", "young", "old"))
_AUTHORSHIP = [["by"], ["von"], ["par"], ["por"], ["da"], ["di"], ["and"], ["und"], ["y"], ["et"], ["и"]]
_VERB = re.compile(r"(?:s|ing|ed)\b")
_EDGES = "()[]{},.;:!?…|*_~'’‘"


@dataclass(frozen=True, slots=True)
class _Word:
    text: str

    @property
    def core(self) -> str:
        return self.text.strip(_EDGES)

    @property
    def possessive(self) -> bool:
        return self.core.endswith(("'s", "’s"))

    @property
    def known(self) -> bool:
        return NAME in self.text

    @property
    def capital(self) -> bool:
        """Written like a name: a capital and small letters, or an initial."""
        first, rest = self.core[:1], self.core[1:]
        if first == first.lower() or self.core.lower() in PLAIN_CAPITALS:
            return False
        return rest != rest.upper() or (not rest and self.text.endswith("."))

    @property
    def tail(self) -> str:
        """The punctuation behind; an initial's full stop belongs to the initial."""
        if len(self.core) == 1 and self.capital:
            return ""
        return self.text[len(self.text.rstrip(_EDGES)) :].strip("'’‘*_~")

    @property
    def ends(self) -> bool:
        return self.tail.endswith((".", "!", "?", ":", ";", "|", "…"))


def german(text: str) -> bool:
    """Every noun has a capital."""
    return len(_GERMAN.findall(text)) >= 2


def without_names(text: str) -> str:
    """Runs of capitalised words go, with the words that led up to them; a person in view becomes `a figure`."""
    words = [_Word(word) for word in text.split()]
    nouns_are_capital = german(text)
    kept: list[str] = []
    at = 0
    while at < len(words):
        opening = at == 0 or words[at - 1].ends
        end = _run(words, at)
        if _is_name(words[at:end], opening, nouns_are_capital):
            following = "" if words[end - 1].tail or end == len(words) else words[end].text
            kept = _replaced(kept, words[at:end], following, opening)
            at = end
        else:
            kept.append(words[at].text)
            at += 1
    return " ".join(kept)


def _run(words: list[_Word], start: int) -> int:
    """Where the run of names that begins at `start` ends; `start` itself if none begins there."""
    at = start
    while at < len(words) and (words[at].capital or words[at].known):
        at += 1
        if words[at - 1].tail:
            break
        if at + 1 < len(words) and words[at].text in _PARTICLES and words[at + 1].capital:
            at += 1
    return at


def _is_name(run: list[_Word], opening: bool, nouns_are_capital: bool) -> bool:
    if any(word.known for word in run):
        return True
    needed = 1 + (opening or nouns_are_capital) + (opening and nouns_are_capital)
    return len(run) >= needed


def _replaced(kept: list[str], run: list[_Word], following: str, opening: bool) -> list[str]:
    ending = ("’s" if run[-1].possessive else "") + run[-1].tail
    bare = _without_links(kept)
    led_up = kept[len(bare) :]
    noun = following[:1].isalpha() and following == following.lower() and following not in _LINKS
    acting = not noun or _VERB.search(following)
    if acting and (opening or (led_up[-1:] == ["of"] and bare and bare[-1].lower() in _LIKENESS)):
        return [*kept, f"a figure{ending}"]
    if acting and not led_up and following and _SOMEBODY.intersection(kept[-3:]):
        return [*kept, f"figure{ending}"]
    if noun and led_up[-1:] not in _AUTHORSHIP:
        return kept
    return [*bare[:-1], bare[-1] + run[-1].tail] if bare else bare


def _without_links(words: list[str]) -> list[str]:
    """The words up to the last one that is no link."""
    return words[: max((at + 1 for at, word in enumerate(words) if word.lower() not in _LINKS), default=0)]
