"""No host is asked more often than it should mind, whoever asks it and by whatever way it is come to."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest
from PIL import Image

from reconciler.domain.findings import Fault, Sized
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason
from reconciler.images.pace import FORGET_AFTER, HostPace
from reconciler.images.pictures import WebPictures
from reconciler.transport import Reply, Request, Transport


class Time:
    """Stands still but for sleeping."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> HostPace:
    """Five a second."""
    return HostPace(5, time, time.sleep)


def test_the_first_goes_at_once_and_the_others_keep_their_distance(pace: HostPace, time: Time) -> None:
    asked = []
    for _ in range(6):
        pace("a.example")
        asked.append(time.at)
    assert asked == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_one_host_does_not_hold_up_another(pace: HostPace, time: Time) -> None:
    for host in ("a.example", "b.example", "c.example"):
        pace(host)
    assert time.slept == []


def test_who_comes_late_does_not_wait_and_has_saved_nothing_up(pace: HostPace, time: Time) -> None:
    pace("a.example")
    time.at = 100.0
    pace("a.example")
    assert time.slept == []
    pace("a.example")
    assert time.slept == pytest.approx([0.2])


def test_part_of_the_distance_is_behind_already(pace: HostPace, time: Time) -> None:
    pace("a.example")
    time.at = 0.15
    pace("a.example")
    assert time.slept == pytest.approx([0.05])


def test_several_threads_have_a_turn_each() -> None:
    """The time stands still, so each waits for all that came before it."""
    slept: list[float] = []
    pace, together = HostPace(10, lambda: 7.0, slept.append), Barrier(8)

    def ask() -> None:
        together.wait()
        for _ in range(25):
            pace("a.example")

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(ask) for _ in range(8)]:
            job.result()
    waits = sorted([0.0, *slept])
    assert len(waits) == 200
    assert all(later - one == pytest.approx(0.1) for one, later in pairwise(waits))


def test_a_wait_for_one_host_is_not_waited_by_those_who_ask_another() -> None:
    asleep, other_done = Barrier(2), Barrier(2)

    def sleep(_: float) -> None:
        asleep.wait(10)
        other_done.wait(10)

    pace = HostPace(5, lambda: 0.0, sleep)
    pace("a.example")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pace, "a.example")
        asleep.wait(10)
        pace("b.example")
        other_done.wait(10)
        waiting.result()


def test_hosts_of_long_ago_are_forgotten_and_those_that_wait_are_not(pace: HostPace, time: Time) -> None:
    for number in range(FORGET_AFTER + 1):
        pace(f"{number}.example")
    time.at = 1.0
    for _ in range(3):
        pace("a.example")  # the next turn is at 1.6, while the time is 1.4
    assert len(pace._next) <= 2
    for number in range(FORGET_AFTER + 1):
        pace(f"{number}.example")
    time.slept.clear()
    pace("a.example")
    assert time.slept == pytest.approx([0.2])


# -- downloads ---------------------------------------------------------------------------------------------------------

HOST = "pictures.example"
URL = f"https://{HOST}/a.jpg"
POLICY = Policy(file_hosts=("example",))


class Site:
    """Remembers in which order it was asked for, and asked."""

    def __init__(self, *replies: Callable[[Request], Reply]) -> None:
        self.happened: list[str] = []
        self._replies = list(replies)

    def pace(self, host: str) -> None:
        self.happened.append(f"turn {host}")

    def answer(self, request: Request) -> Reply:
        self.happened.append(f"GET {request.url}")
        return (self._replies.pop(0) if len(self._replies) > 1 else self._replies[0])(request)

    def pictures(self, **more: Any) -> WebPictures:
        transport = Transport(user_agent="test", clock=lambda: datetime.now(UTC), handler=self.answer)
        return WebPictures(POLICY, transport, pace=self.pace, **more)


def given(body: bytes) -> Callable[[Request], Reply]:
    return lambda _: Reply(200, {"content-length": str(len(body)), "content-type": "image/jpeg"}, body, complete=True)


def sent_on(url: str) -> Callable[[Request], Reply]:
    return lambda _: Reply(302, {"location": url}, b"", complete=True)


@pytest.fixture
def picture(paint: Callable[..., Image.Image], encode: Callable[..., bytes]) -> bytes:
    return encode(paint(160, 90))


def test_each_request_waits_for_its_turn(picture: bytes) -> None:
    site = Site(given(picture))
    assert site.pictures().measure(URL) == Sized(160, 90)
    assert site.pictures().fetch(URL, bound=True) == picture
    assert site.happened == [f"turn {HOST}", f"GET {URL}"] * 2


def test_redirects_wait_for_the_host_that_they_lead_to(picture: bytes) -> None:
    there, back = "https://CDN.example:8443/b.jpg", f"https://{HOST}/c.jpg"
    site = Site(sent_on(there), sent_on(back), given(picture))
    assert site.pictures().fetch(URL, bound=False) == picture
    assert site.happened == [
        *(f"turn {HOST}", f"GET {URL}"),
        *("turn cdn.example", f"GET {there}"),
        *(f"turn {HOST}", f"GET {back}"),
    ]


def test_a_question_put_again_waits_again(picture: bytes) -> None:
    """A server that knows no ranges is asked for the whole."""
    site = Site(lambda _: Reply(416, {}, b"", complete=True), given(picture))
    assert site.pictures().measure(URL) == Sized(160, 90)
    assert site.happened == [f"turn {HOST}", f"GET {URL}"] * 2


def test_who_is_not_asked_takes_no_turn() -> None:
    site = Site(given(b""))
    for url in ("http://pictures.example/a.jpg", "https://127.0.0.1/a.jpg", "no url"):
        answer = site.pictures().fetch(url, bound=False)
        assert isinstance(answer, Fault)
        assert answer.reason is Reason.HOST_REFUSED
    assert site.happened == []


def test_waiting_for_a_turn_counts_against_the_deadline(time: Time, picture: bytes) -> None:
    site = Site(given(picture))
    transport = Transport(user_agent="test", clock=lambda: datetime.now(UTC), handler=site.answer)
    slow = WebPictures(POLICY, transport, time, pace=lambda _: time.sleep(31))
    assert slow.fetch(URL, bound=False) == Fault(Reason.DOWNLOAD_FAILED, f"{HOST}: the deadline passed")
    assert site.happened == []
