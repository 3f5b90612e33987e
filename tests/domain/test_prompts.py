import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalogue import MODELS
from reconciler.domain.model import Cell, Track
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder, original
from reconciler.domain.soften import neutral, soften
from reconciler.domain.wording import collapse, fit_length, said

GOLDEN = json.loads((Path(__file__).parent / "golden" / "prompts.json").read_text(encoding="utf-8"))
EMPTY = Track(id="1", image=Cell(None))
COLUMNS = ("title", "prompt", "mood", "vibe", "summary", "extended_prompt", "extended_prompt_image")
odd = st.one_of(
    st.none(),
    st.text(),
    st.text(alphabet=" |:visualmustcgek_d\n"),
    st.lists(
        st.sampled_from(
            ["calm", " | Music: ", "|visual:", " | Visual: ", "a lake", " | image_task_id: ", "x1", "\ud83c"]
        )
    ).map("".join),
    st.sampled_from(["Generated Vibe", "null", "", " ", "[Verse]"]),
)


def row(**values: Any) -> Track:
    return replace(EMPTY, **values)


tracks = st.builds(lambda values: row(**values), st.fixed_dictionaries(dict.fromkeys(COLUMNS, odd)))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["about"])
def test_golden_prompts(case: dict[str, Any]) -> None:
    assert original(row(**case["row"])) == case["prompt"]


def test_there_are_enough_golden_prompts() -> None:
    assert len(GOLDEN) >= 20


@pytest.mark.untraced
@given(tracks)
def test_a_prompt_is_one_clean_line_or_none(track: Track) -> None:
    prompt = original(track)
    assert prompt is None or (prompt and prompt == collapse(prompt))


@given(odd)
def test_the_visual_part_holds_no_task_ids(extended: str | None) -> None:
    prompt = original(row(extended_prompt=extended))
    assert prompt is None or "image_task_id:" not in prompt.lower()


@given(tracks)
def test_the_ladder_keeps_every_models_limit(track: Track) -> None:
    policy = Policy(fallback_models=tuple(MODELS))
    steps = ladder(track, policy)
    assert (original(track) is None) == (steps == ())
    assert len(steps) == len(set(steps))
    for name, prompt in steps:
        assert prompt
        assert len(prompt.encode("utf-16-le")) // 2 <= MODELS[name].prompt_limit


@pytest.mark.parametrize("text", ["x" * 50_000, "word " * 20_000, "🌊" * 30_000, "🌊 " * 30_000, "| visual:" * 9_000])
def test_the_ladder_keeps_every_models_limit_for_huge_columns(text: str) -> None:
    columns = ("mood", "vibe", "summary", "extended_prompt", "extended_prompt_image")
    track = row(**dict.fromkeys(columns, text))
    for name, prompt in ladder(track, Policy(fallback_models=tuple(MODELS))):
        assert len(prompt.encode("utf-16-le")) // 2 <= MODELS[name].prompt_limit
    original(replace(track, extended_prompt_image=None))


def test_the_ladder_softens_then_leaves_the_prompt_then_the_model() -> None:
    track = row(extended_prompt_image="Frida Kahlo in a garden", mood="calm", vibe="late sun")
    calm = neutral("calm", "late sun")
    assert ladder(track, Policy(model="nano-banana-2", fallback_models=("seedream/4.5-text-to-image",))) == (
        ("nano-banana-2", "Frida Kahlo in a garden"),
        ("nano-banana-2", soften("Frida Kahlo in a garden")),
        ("nano-banana-2", calm),
        ("seedream/4.5-text-to-image", calm),
    )


def test_the_ladder_drops_what_was_tried() -> None:
    track = row(extended_prompt_image="a lake at dawn")
    policy = Policy(model="nano-banana-2", fallback_models=("nano-banana-2",))
    assert ladder(track, policy) == (("nano-banana-2", "a lake at dawn"), ("nano-banana-2", neutral(None, None)))


def test_a_long_prompt_is_cut_for_its_model() -> None:
    track = row(extended_prompt_image="lake " * 2000)
    (_, first), (_, second), *_ = ladder(track, Policy(model="seedream/4.5-text-to-image"))
    assert len(first) == 2999
    assert len(second) <= 300


@pytest.mark.parametrize("end", ["", " |", " || image_task_id: x", "| Music: slow"])
@pytest.mark.parametrize("words", ["a red kite", "letter X"])
def test_the_visual_part_ends_where_the_next_begins(words: str, end: str) -> None:
    assert original(row(extended_prompt=f"calm | Visual: {words}{end}")) == words


@pytest.mark.parametrize(
    ("title", "shown"),
    [("Generation X.,;: ", "Generation X"), (".38 Special", ".38 Special"), ("“X-ray”", "X-ray")],
)
def test_a_title_is_told_without_its_quotes_and_what_ends_it(title: str, shown: str) -> None:
    prompt = original(row(title=title, mood=title))
    assert prompt is not None
    assert prompt.startswith(f"Album cover art for “{shown}”: mood {title.rstrip('.,;: ')}. One clear")


def test_a_long_text_of_the_app_is_cut() -> None:
    scene = (
        "One clear subject in a wide cinematic scene, evocative light, rich texture and depth. No text, no lettering."
    )
    long, very_long = "x" * 160, "x" * 800
    assert original(row(prompt="x" * 900)) == f"Album cover art for this music: {very_long}. {scene}"
    brief = row(title="T", summary="about the letter X")
    assert original(brief) == f"Album cover art for “T”. about the letter X. {scene}"
    everything = row(**dict.fromkeys(("title", "vibe", "mood", "summary"), "x" * 900))
    opening = f"Album cover art for “{long}”: mood {long}, vibe {long}."
    assert original(everything) == f"{opening} {very_long}. {scene}"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a quiet lake", 12, "a quiet lake"),
        ("  a quiet lake  ", 12, "a quiet lake"),
        ("a quiet lake", 11, "a quiet"),
        ("a quiet, lake", 10, "a quiet"),
        ("a quiet blue lake", 12, "a quiet blue"),
        ("a quiet blue lake", 11, "a quiet"),
        ("a lake underneath", 12, "a lake under"),
        ("a lake underneath", 14, "a lake underne"),
        ("a quiet lake", 7, "a quiet"),
        ("a quietlakeatdawn", 10, "a quietlak"),
        ("雨の夜、最終電車", 4, "雨の夜"),
        ("🌊🌊🌊", 5, "🌊🌊"),
        ("a\ud83c lake", 10, "a lake"),
        ("a lake", 0, ""),
        ("a lake", -3, ""),
        ("", 0, ""),
    ],
)
def test_cuts_by_example(text: str, limit: int, expected: str) -> None:
    assert fit_length(text, limit) == expected


@given(st.text(), st.integers(-2, 40))
def test_a_cut_keeps_the_limit_and_whole_words(text: str, limit: int) -> None:
    cut = fit_length(text, limit)
    assert len(cut.encode("utf-16-le")) // 2 <= max(limit, 0)
    assert fit_length(cut, limit) == cut
    assert collapse(text).startswith(cut)


@given(st.text())
def test_collapsed_text_stays_so_and_can_be_sent(text: str) -> None:
    clean = collapse(text)
    assert collapse(clean) == clean
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]|  ", clean)
    clean.encode()


@pytest.mark.parametrize(
    "filler", ["Generated Vibe", "generated", "Generated Track", "Generated Track 12.", "NULL", "?!", ""]
)
def test_fillers_say_nothing(filler: str) -> None:
    assert not said(filler)


@pytest.mark.parametrize("text", ["Generated Forest", "None of us", "nullable", "夜", "Track of foxes"])
def test_what_only_resembles_a_filler_is_kept(text: str) -> None:
    assert said(text) == text
