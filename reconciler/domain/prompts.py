"""The words that a new picture is bought with."""

import re
from collections.abc import Iterator

from reconciler.domain.catalogue import MODELS
from reconciler.domain.model import Track
from reconciler.domain.policy import Policy
from reconciler.domain.wording import collapse, fit_length, said

_VISUAL = re.compile(
    r"(?:^|\|) ?visual ?: ?(.*?) ?(?=\|? ?image_task_id ?:|\| ?visual ?:|\| ?music ?:|$)", re.IGNORECASE
)
_SECTION = re.compile(r"\[[^\]]{0,40}\]|^Generated (?:Track|Vibe) ?[:–-] ?", re.IGNORECASE)
"""Lyrics carry [Verse 1] and [Chorus], some prompts a filler in front."""
_SCENE = "One clear subject in a wide cinematic scene, evocative light, rich texture and depth."
_PLAIN = "No text, no lettering."


def original(track: Track) -> str | None:
    """The picture prompt in the order of the app's columns; None where no column says anything."""
    return (
        said(track.extended_prompt_image)
        or _visual(track.extended_prompt)
        or _from_song(track)
        or _from_music_prompt(track.prompt)
        or None
    )


def ladder(track: Track, policy: Policy) -> tuple[tuple[str, str], ...]:
    """(model, prompt) to try in turn while the content is refused; empty where there is no prompt."""
    return tuple(dict.fromkeys(rungs(track, policy)))


def rungs(track: Track, policy: Policy) -> Iterator[tuple[str, str]]:
    """The ladder, no further than it is climbed; some may come twice."""
    return ((name, fit_length(text, MODELS[name].prompt_limit)) for name, text in _rungs(track, policy))


def _rungs(track: Track, policy: Policy) -> Iterator[tuple[str, str]]:
    first = original(track)
    if first is None:
        return
    yield policy.model, first
    from reconciler.domain.soften import neutral, soften  # noqa: PLC0415 - its many words take a tenth of a start

    yield policy.model, soften(first)
    calm = neutral(track.mood, track.vibe)
    for model in (policy.model, *policy.fallback_models):
        yield model, calm


def _visual(extended: str | None) -> str:
    found = (said(words.rstrip(" |")) for words in _VISUAL.findall(collapse(extended)))
    return next(filter(None, found), "")


def _from_song(track: Track) -> str:
    title, vibe, mood = (_brief(text, 160) for text in (track.title, track.vibe, track.mood))
    summary = _brief(track.summary, 800)
    qualities = ", ".join(f"{name} {value}" for name, value in (("mood", mood), ("vibe", vibe)) if value)
    if not (title or qualities or summary):
        return ""
    subject = f" for “{title.strip('“”„«» ')}”" if title else ""
    opening = f"Album cover art{subject}: {qualities}." if qualities else f"Album cover art{subject}."
    return " ".join(filter(None, (opening, _sentence(summary), _SCENE, _PLAIN)))


def _from_music_prompt(prompt: str | None) -> str:
    music = _brief(_SECTION.sub(" ", collapse(prompt)), 800)
    return f"Album cover art for this music: {_sentence(music)} {_SCENE} {_PLAIN}" if music else ""


def _brief(text: str | None, limit: int) -> str:
    return fit_length(said(text).replace('"', "").rstrip(".,;: "), limit)


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?…。！？" else f"{text}."
