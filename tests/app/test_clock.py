"""The time that leases and purchases go by: the server's, as nearly as can be known, and never too early."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.app.clock import ServerClock

HERE = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR, SECOND, MOMENT = timedelta(hours=1), timedelta(seconds=1), timedelta(milliseconds=20)


class Machine:
    """A machine with a clock on its wall and one that nobody sets, and a server whose clock is an hour ahead."""

    def __init__(self) -> None:
        self.wall, self.steady, self.server = HERE, timedelta(0), HERE + HOUR
        self.clock = ServerClock(lambda: self.wall, lambda: self.steady)

    def pass_time(self, length: timedelta) -> None:
        self.wall, self.steady, self.server = self.wall + length, self.steady + length, self.server + length

    def ask(self, there: timedelta = MOMENT, back: timedelta = MOMENT) -> None:
        self.pass_time(there)
        said = self.server
        self.pass_time(back)
        self.clock.heard(said, there + back)


def test_until_something_is_heard_it_is_this_machines() -> None:
    assert Machine().clock() == HERE


def test_then_it_is_the_servers_whatever_the_wall_says() -> None:
    machine = Machine()
    machine.ask()
    machine.wall -= timedelta(days=3)
    machine.pass_time(HOUR)
    assert machine.server <= machine.clock() <= machine.server + MOMENT


def test_a_wait_for_a_lock_makes_nothing_worse_that_was_known_better() -> None:
    machine = Machine()
    machine.ask()
    machine.ask(there=10 * SECOND)
    assert machine.clock() <= machine.server + MOMENT


def test_a_server_whose_clock_was_set_is_followed() -> None:
    machine = Machine()
    machine.ask()
    for leap in (-HOUR, 2 * HOUR):
        machine.server += leap
        machine.ask()
        assert machine.server <= machine.clock() <= machine.server + MOMENT


@given(st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 12_000)), min_size=1, max_size=8))
def test_it_is_never_early_and_as_late_as_the_best_answer_allows(answers: list[tuple[int, int]]) -> None:
    machine = Machine()
    for there, back in answers:
        machine.ask(timedelta(milliseconds=there), timedelta(milliseconds=back))
    assert machine.server <= machine.clock() <= machine.server + timedelta(milliseconds=min(a + b for a, b in answers))


def test_what_is_due_by_the_server_is_due_here_at_another_time() -> None:
    machine = Machine()
    assert machine.clock.here(HERE) == HERE
    machine.ask(timedelta(0), timedelta(0))
    assert machine.clock.here(machine.server + SECOND) == machine.wall + SECOND
