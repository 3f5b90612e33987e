import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event, Thread, get_ident

import pytest
from PIL import Image
from PIL import _imaging as pillow

from reconciler.images.room import KEPT, Room


@contextmanager
def comer(room: Room, pixels: int) -> Iterator[Event]:
    """A thread that takes its place until the end; the event tells that it has it."""
    inside, leave = Event(), Event()

    def work() -> None:
        inside.set()
        leave.wait(60)

    thread = Thread(target=room.work, args=(pixels, work))
    thread.start()
    try:
        yield inside
    finally:
        leave.set()
        thread.join(60)


@pytest.mark.parametrize(("seats", "pixels"), [(2, (10, 10)), (3, (60, 40)), (3, (99, 1))])
def test_who_has_room_goes_on(seats: int, pixels: tuple[int, ...]) -> None:
    room = Room(100, seats)
    with ExitStack() as stack:
        for each in pixels:
            assert stack.enter_context(comer(room, each)).wait(60)


@pytest.mark.parametrize(
    ("seats", "pixels"), [(1, (10, 10)), (3, (60, 41)), (3, (100, 1)), (3, (5, 1000)), (3, (1000, 1))]
)
def test_who_has_none_waits_until_another_leaves(seats: int, pixels: tuple[int, int]) -> None:
    room = Room(100, seats)
    with ExitStack() as stack:
        with comer(room, pixels[0]) as first:
            assert first.wait(60)
            second = stack.enter_context(comer(room, pixels[1]))
            assert not second.wait(0.05)
        assert second.wait(60)


def test_a_small_one_does_not_overtake_a_large_one() -> None:
    room = Room(100, 3)
    with ExitStack() as stack:
        with comer(room, 60) as first:
            assert first.wait(60)
            large = stack.enter_context(comer(room, 80))
            assert not large.wait(0.05)
            small = stack.enter_context(comer(room, 10))
            assert not small.wait(0.05)
        assert large.wait(60)
        assert small.wait(60)


def test_a_failure_leaves_its_place() -> None:
    room = Room(100, 1)

    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        room.work(100, broken)
    assert room.work(100, lambda: "whole") == "whole"


def test_whoever_comes_it_is_done_by_as_many_threads_as_there_are_seats() -> None:
    room = Room(100, 2)
    with ThreadPoolExecutor(8) as comers:
        done = [comers.submit(room.work, 10, get_ident) for _ in range(50)]
    assert len({each.result() for each in done}) <= 2


def test_a_copied_process_has_a_room_of_its_own() -> None:
    room = Room(100, 1)
    room.work(1, lambda: None)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(room.work(1, lambda: 7))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def pixels_of_a_picture() -> None:
    Image.new("RGB", (1024, 1024))


def test_memory_goes_from_one_picture_to_the_next_and_back_to_the_system_when_nobody_is_left() -> None:
    room = Room(100, 2)
    with comer(room, 10) as somebody:
        assert somebody.wait(60)
        room.work(10, pixels_of_a_picture)
        assert pillow.get_stats()["blocks_cached"] > 0
        pillow.reset_stats()
        room.work(10, pixels_of_a_picture)
        assert pillow.get_stats()["reused_blocks"] > 0
        assert pillow.get_stats()["allocated_blocks"] == 0
    assert pillow.get_stats()["blocks_cached"] == 0


def test_what_is_kept_is_bounded() -> None:
    room = Room(100, 2)
    with comer(room, 10) as somebody:
        assert somebody.wait(60)
        room.work(10, lambda: Image.new("RGB", (4096, 8192)).close())
        assert pillow.get_stats()["blocks_cached"] == 2 * KEPT
