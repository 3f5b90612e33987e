"""The status page's words and numbers, from values alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.advice import to_do
from reconciler.domain.attempts import Replaced
from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.gate import Closure, GateName, Usage
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.page import view, words
from reconciler.page.values import Fate, Health, Seen, Thumbnail, Told
from tests.page.builders import GOOD, HOSTILE, NOW, POLICY, STUCK, URL, Tracks, example, html, overview, recovery, seen

HOUR = timedelta(hours=1)
THUMB = Thumbnail("ab" * 16, 320, 180)


@pytest.mark.parametrize(
    ("value", "health", "title"),
    [
        (seen(), {}, "All is well"),
        (seen(STUCK), {}, "11 tracks stuck"),
        (seen({**GOOD, (State.FAILED, Reason.NO_PROMPT): 1}), {}, "1 track stuck"),
        (Seen(overview(STUCK, paused=True), NOW), {}, "Paused, 11 tracks stuck"),
        (Seen(overview(paused=True), NOW), {}, "Paused"),
        (seen(), {"hangs": ("job sweep is under way for 90s",)}, "It hangs"),
        (seen(STUCK), {"fails": ("sweep: no such file",)}, "Something fails, 11 tracks stuck"),
        (None, {}, "It has only just started"),
    ],
)
def test_the_title_says_it_at_one_glance(value: Seen | None, health: dict[str, Any], title: str) -> None:
    page = html(value, **health)
    assert f"<title>{title} – reconciler</title>" in page
    assert f'<h1 id="verdict">{title}</h1>' in page


def test_before_the_first_snapshot_it_says_so() -> None:
    page = html(None)
    assert "Nothing was counted yet. The first snapshot is taken within 30 seconds" in page
    assert "<section" in page
    assert "Where the tracks stand" not in page


@pytest.mark.parametrize(
    ("waiting", "for_audit", "next_due"),
    [
        (0, 0, "nothing before the world changes"),
        (2, 2, "at the next audit"),
        (3, 2, "now"),
    ],
)
def test_what_no_sweep_sees_is_not_said_to_be_due_now(waiting: int, for_audit: int, next_due: str) -> None:
    counted = replace(overview({(State.UNVERIFIED, None): waiting}), for_audit=for_audit)
    assert f"<dt>Next due</dt><dd>{next_due}</dd>" in html(Seen(counted, NOW))


def troubles(value: Seen | None, here: timedelta = timedelta(0), **health: Any) -> list[str]:
    return [trouble.what for trouble in view.troubles(Told(value, Health(**health)), POLICY, NOW + here)]


def test_what_wants_attention_comes_first_and_says_what_to_do() -> None:
    closed = Closure(GateName.CREDITS, NOW, None, "12 credits left")
    stopped = Seen(overview(closures=(closed,)), NOW)
    told = troubles(stopped, hangs=("job sweep",), fails=("sweep: locked",), store_trouble="I/O error")
    assert told == [
        "It hangs: job sweep",
        "sweep: locked",
        "The store: I/O error",
        "Purchases are stopped (credits): 12 credits left",
    ]
    page = html(stopped)
    assert "Top up the account at Kie" in page
    assert '<b class="bad">stopped</b>: credits' in page


@pytest.mark.parametrize(
    ("tracks", "health", "whats"),
    [
        ({(State.FETCHING, Reason.STORAGE_FAILED): 1}, {}, ["The store failed for 1 track"]),
        (
            {(State.FETCHING, Reason.STORAGE_FAILED): 2, (State.BACKING_OFF, Reason.STORAGE_FAILED): 3},
            {},
            ["The store failed for 5 tracks"],
        ),
        ({(State.FETCHING, Reason.STORAGE_FAILED): 2}, {"store_trouble": "it is full"}, ["The store: it is full"]),
        ({(State.FETCHING, Reason.STORAGE_FAILED): 0}, {}, []),
        (STUCK, {}, []),
    ],
)
def test_a_store_that_takes_nothing_wants_attention(tracks: Tracks, health: dict[str, Any], whats: list[str]) -> None:
    found = list(view.troubles(Told(seen(tracks), Health(**health)), POLICY, NOW))
    assert [trouble.what for trouble in found] == whats
    assert all("reconciler check" in trouble.todo for trouble in found)


def test_a_snapshot_that_is_old_says_so() -> None:
    assert troubles(seen(), 89 * timedelta(seconds=1)) == []
    assert troubles(seen(), 91 * timedelta(seconds=1)) == ["What stands here is 91 seconds old"]
    assert "Counted <time" in html(seen(), here=NOW + HOUR)
    assert ">60 minutes ago</time>" in html(seen(), here=NOW + HOUR)


def test_ages_go_by_the_clock_of_the_database() -> None:
    ahead = timedelta(minutes=10)
    value = Seen(replace(overview(), at=NOW + ahead), NOW)
    assert view.view(value, {}, POLICY, NOW + HOUR).now == NOW + HOUR + ahead


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([State.FAILED], "1 track was given up."),
        ([State.INVALID], "1 track was given up."),
        ([State.FAILED, State.INVALID, State.MISSING], "2 tracks were given up."),
    ],
)
def test_how_many_were_given_up_is_told(states: list[State], said: str) -> None:
    page = html(seen({(state, Reason.INVALID_ROW): 1 for state in states}))
    assert said in page


def groups(value: Seen) -> list[tuple[Reason, int, int]]:
    return [(group.reason, group.count, len(group.examples)) for group in view.view(value, {}, POLICY, NOW).groups]


def test_what_was_given_up_comes_first_and_what_is_under_way_last() -> None:
    tracks: Tracks = {
        (State.AWAITING, Reason.IN_FLIGHT): 70,
        (State.MISSING, Reason.BUDGET): 5,
        (State.BELOW_TARGET, Reason.BUDGET): 6,
        (State.FETCHING, Reason.STORAGE_FAILED): 2,
        (State.BACKING_OFF, Reason.DOWNLOAD_FAILED): 30,
        (State.FAILED, Reason.NO_PROMPT): 1,
        (State.FAILED, Reason.CONTENT_REJECTED): 0,
    }
    assert groups(seen(tracks, examples=[example()])) == [
        (Reason.NO_PROMPT, 1, 1),
        (Reason.DOWNLOAD_FAILED, 30, 0),
        (Reason.BUDGET, 11, 0),
        (Reason.STORAGE_FAILED, 2, 0),
        (Reason.IN_FLIGHT, 70, 0),
    ]


@pytest.mark.parametrize("others", [{}, {(State.FETCHING, Reason.IN_FLIGHT): 2}])
def test_what_waits_for_a_key_that_kie_takes_is_not_said_to_go_on_by_itself(others: Tracks) -> None:
    refused = Closure(GateName.KEY, NOW, NOW + HOUR, "code 401")
    tracks: Tracks = {(State.AWAITING, Reason.IN_FLIGHT): 3, **others}
    (group,) = view.view(Seen(overview(tracks, closures=(refused,)), NOW), {}, POLICY, NOW).groups
    assert group.advice == to_do(Reason.UNAUTHORIZED)
    (group,) = view.view(seen(tracks), {}, POLICY, NOW).groups
    assert group.advice == to_do(Reason.IN_FLIGHT)


def test_examples_are_told_as_explain_tells_them() -> None:
    later = example("t2", when=NOW + 2 * HOUR, what="buy from x for 5 credits", title=None, since=None)
    page = html(seen({(State.FAILED, Reason.NO_PROMPT): 1234}, examples=[example(), later]))
    assert "The row holds nothing that a picture could be asked for with" in page
    assert "and 1\N{NARROW NO-BREAK SPACE}232 more" in page
    assert 'datetime="2026-11-20T14:00:00Z" title="2026-11-20 14:00:00 UTC">in 2 hours</time>' in page
    assert "buy from x for 5 credits" in page
    assert "untitled" in page
    assert "None of them was looked at by itself yet." not in page


def test_an_example_that_moved_since_the_count_is_told_where_it_stands() -> None:
    moved = example(state=State.MISSING, reason=Reason.BUDGET)
    assert groups(seen({(State.MISSING, Reason.DUE): 3}, examples=[moved])) == [
        (Reason.DUE, 3, 0),
        (Reason.BUDGET, 1, 1),
    ]


def test_tracks_that_nobody_looked_at_are_counted_all_the_same() -> None:
    page = html(seen({(State.MISSING, Reason.DUE): 5}, remembers=False))
    assert "None of them was looked at by itself yet." in page
    assert "every track counts as never looked at" in page


@pytest.mark.parametrize(
    ("replaced", "shown", "before"),
    [
        (None, {}, "not noted"),
        (Replaced(), {}, "no picture"),
        (Replaced(size="64x64", inline=True), {}, "an inline picture, 64×64"),
        (Replaced(URL, dead=True), {}, "a dead link"),
        (Replaced(f"{URL}?…", "360x360"), {}, "a signed or long link, 360×360"),
        (Replaced("5" * 32), {}, "no link"),
        (Replaced(URL), {}, "on its way"),
        (Replaced(URL, "360x360"), {URL: "gone"}, "gone, 360×360"),
        (Replaced(URL), {URL: THUMB}, THUMB),
    ],
)
def test_what_was_there_before_is_shown_or_told(
    replaced: Replaced | None, shown: dict[str, Any], before: Thumbnail | str
) -> None:
    (tile,) = view.view(seen(recoveries=[recovery(replaced=replaced)]), shown, POLICY, NOW).tiles
    assert tile.before == before


def test_what_is_there_now_is_shown() -> None:
    value = seen(recoveries=[recovery(), recovery("t2", key=None)])
    first, second = view.view(value, {"k.jpg": THUMB}, POLICY, NOW).tiles
    assert (first.after, second.after) == (THUMB, "replaced since")
    page = html(value, {"k.jpg": THUMB})
    assert f'<img src="/thumbnails/{"ab" * 16}.jpg" width="320" height="180" alt="After: Overture"' in page
    assert "generated, <time" in page


def test_the_budget_and_the_purchases_are_told_in_numbers_too() -> None:
    bought = [(NOW - HOUR / 2, Fate.GOOD), (NOW - 5 * HOUR, Fate.FAILED), (NOW - 5 * HOUR, Fate.OPEN)]
    spent = overview(hour=Usage(30, NOW + HOUR / 4), day=Usage(42))
    page = html(Seen(spent, NOW, bought=bought))
    assert "<b>30</b> of 30 in the last hour, more <time" in page
    assert "<b>42</b> of 100 in the last day" in page
    assert "3 purchases: 1 good, 1 open or unknown, 1 failed. At most 2 in an hour; the budget allows 30." in page
    assert page.count('<th scope="row"><time') == 2
    assert "Nothing was bought." in html(seen())


def test_kie_and_the_sweeps_are_told() -> None:
    broken = overview(breaker=Breaker(Stage.RAMPING), balance=1234.5, balance_at=NOW - HOUR, paused=True)
    page = html(Seen(broken, NOW), swept_at=NOW - HOUR / 60, database="/data/app.db", store="s3://covers")
    for told in ("ramping", "1\N{NARROW NO-BREAK SPACE}234.5, read", "60 seconds ago", "/data/app.db", "s3://covers"):
        assert told in page
    assert '<b class="bad">yes</b>, until <code>reconciler resume</code>' in page


@pytest.mark.parametrize(
    ("gate", "policy", "breaker"),
    [
        ({}, {}, "closed, purchases flow"),
        ({"paused": True}, {}, "closed"),
        ({"closures": (Closure(GateName.KEY, NOW, NOW + HOUR),)}, {}, "closed"),
        ({}, {"per_day": 0}, "closed"),
        ({}, {"per_hour": 0}, "closed"),
        ({"breaker": Breaker(Stage.OPEN, retry_at=NOW + HOUR)}, {}, "open"),
        ({"breaker": Breaker(Stage.RAMPING)}, {}, "ramping"),
    ],
)
def test_purchases_are_said_to_flow_only_where_nothing_stops_them(
    gate: dict[str, Any], policy: dict[str, Any], breaker: str
) -> None:
    shown = view.view(Seen(overview(**gate), NOW), {}, replace(POLICY, **policy), NOW)
    assert shown.breaker == breaker


@pytest.mark.parametrize(
    ("policy", "budget"), [(replace(POLICY, per_hour=0), "per_hour"), (replace(POLICY, per_day=0), "per_day")]
)
def test_a_budget_of_nothing_is_named(policy: Policy, budget: str) -> None:
    assert f"never: <code>budget.{budget} = 0</code>" in html(seen(), policy=policy)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "now"), (-1, "1 second ago"), (-119, "119 seconds ago"), (-120, "2 minutes ago"), (7200, "in 2 hours")],
)
def test_ages_are_told_in_one_unit(seconds: int, said: str) -> None:
    assert words.age(NOW + timedelta(seconds=seconds), NOW) == said


def test_texts_of_others_are_shown_as_they_are_and_do_nothing() -> None:
    hostile = Closure(GateName.KEY, NOW, None, HOSTILE)
    value = Seen(
        overview(STUCK, closures=(hostile,)),
        NOW,
        examples=[example(HOSTILE, title=HOSTILE, what=HOSTILE)],
        recoveries=[recovery(replaced=Replaced(URL))],
    )
    page = html(value, {URL: HOSTILE, "k.jpg": THUMB}, fails=(HOSTILE,), store=HOSTILE, database=HOSTILE)
    assert "<script" not in page
    assert "onerror=hack()>" not in page
    assert "&lt;script&gt;hack()&lt;/script&gt;" in page
    assert "{{ 7*7 }}" in page
    assert page.count("</style>") == 1


def test_titles_are_made_harmless_and_cut() -> None:
    assert words.title("a\u202eb\x00c") == r"a\u202eb\x00c"
    assert len(words.title("x" * 1000)) == words.LONGEST_TITLE
    assert words.title("  ") == "untitled"
    assert words.coded("run `a<b` now") == "run <code>a&lt;b</code> now"


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({}, "not asked for: <code>callback.public_url</code> is empty"),
        ({"callbacks": True}, "none has come yet"),
        ({"callbacks": True, "called_at": NOW - HOUR}, ">60 minutes ago</time>"),
    ],
)
def test_it_tells_whether_kie_calls(health: dict[str, Any], said: str) -> None:
    row = html(seen(), **health).partition("<dt>Callbacks</dt>")[2].partition("</div>")[0]
    assert said in row
