"""What was tried for each track, as people are told of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import Told, Where, open_reader
from reconciler.database.connection import Connection
from reconciler.database.history import History
from reconciler.domain.attempts import Attempt
from reconciler.domain.policy import Policy
from tests.database.test_plans import work

POLL = Attempt("ask_task", "t", "running", "queued")
MINUTE = timedelta(minutes=1)


class Book:
    """A history that is written and read as in transactions of leases."""

    def __init__(self, app: Any) -> None:
        self.clock = app.clock
        self.connection: Connection = app.ready()
        self.history = History(self.connection)

    def add(self, *attempts: Attempt, track_id: str = "a") -> None:
        with self.connection.writing() as now:
            (newest,) = self.connection.ask(self.history.newest([track_id]))
            self.connection.ask(*self.history.added([(track_id, attempts)], newest, now))

    def of(self, track_id: str = "a", limit: int = 100) -> Sequence[Told]:
        with self.connection.reading():
            return self.history.of(track_id, limit)


@pytest.fixture
def book(app: Any) -> Book:
    return Book(app)


def test_the_same_again_and_again_is_one_line(app: Any, book: Book) -> None:
    first = app.clock()
    for _ in range(3):
        book.add(POLL)
        app.clock.at += MINUTE
    assert book.of() == [Told(first, first + 2 * MINUTE, 3, "ask_task", "t", "running", "queued")]


@pytest.mark.parametrize("field", ["step", "about", "came", "detail"])
def test_whatever_differs_is_told(book: Book, field: str) -> None:
    other = replace(POLL, **{field: "other"})
    book.add(POLL)
    book.add(other, other)
    book.add(POLL)
    assert [told.times for told in book.of()] == [1, 2, 1]
    assert [getattr(told, field) for told in book.of()] == [getattr(POLL, field), "other", getattr(POLL, field)]


def test_newest_first_and_no_more_than_asked_for(app: Any, book: Book) -> None:
    for number in range(5):
        book.add(replace(POLL, about=str(number)))
        app.clock.at -= MINUTE  # the order is that of events, whatever the clock said
    assert [told.about for told in book.of()] == ["4", "3", "2", "1", "0"]
    assert [told.about for told in book.of(limit=2)] == ["4", "3"]


def test_tracks_do_not_interrupt_each_other(book: Book) -> None:
    for _ in range(2):
        for track_id in ("a", "b"):
            book.add(POLL, track_id=track_id)
    assert [told.times for told in book.of("a")] == [2]
    assert [told.times for told in book.of("b")] == [2]
    assert book.of("c") == []


def test_text_that_no_database_takes_is_told_as_far_as_it_can_be(book: Book) -> None:
    """Answers in JSON may hold halves of surrogate pairs."""
    broken = Attempt("ask_task \udc80", "t\ud83d", "trouble", "ü \ud83d\ude00 \udfff")
    book.add(broken)
    book.add(broken)
    (told,) = book.of()
    assert (told.times, told.step, told.about, told.detail) == (2, "ask_task ?", "t?", "ü ?? ?")


def test_a_reader_sees_it(app: Any, book: Book) -> None:
    book.add(POLL, replace(POLL, came="succeeded"))
    reader = open_reader(Where(app.url), Policy(), app.clock)
    assert [told.came for told in reader.history("a", 1)] == ["succeeded"]
    assert reader.history("a", 9) == book.of()
    reader.close()


@pytest.mark.sqlite
def test_a_long_history_is_not_read_to_add_to_it(book: Book) -> None:
    def read() -> int:
        newest, shown = book.history.newest(["a", "b"]), book.history._shown.given(track_id="a", limit=9)
        return work(book.connection, [(each.statement.sql, each.values) for each in (newest, shown)])

    book.add(*(replace(POLL, detail=str(number)) for number in range(9)))
    short = read()
    book.add(*(replace(POLL, detail=str(number)) for number in range(900)))
    assert read() <= 1.2 * short
