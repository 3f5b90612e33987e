"""A network between a program and its server that tests can make slow, silent or broken."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")
Due = tuple[float, bytes]
"""What goes on, and when; b"" is the end."""

PAUSE_S = 0.1
"""What is to come twice is over when nothing follows for so long."""


class Fault(StrEnum):
    """What befalls whatever passes, on connections that are open already too."""

    REFUSE = "refuse"
    """Nobody listens; what is open is reset."""
    RESET = "reset"
    """Who asks is reset, and nothing is passed on."""
    RESET_WITHIN = "reset within"
    """As `CUT`, by a reset."""
    CUT = "cut"
    """After so many bytes an answer ends, as if the server had closed the connection."""
    BLACKHOLE = "blackhole"
    """Who connects is let in, and what is sent is swallowed, both ways."""
    DRIP = "drip"
    """An answer comes byte by byte."""
    ANSWER_TWICE = "answer twice"
    """Behind an answer the same one comes again."""
    ASK_TWICE = "ask twice"
    """What is asked reaches the server once more, by a connection of its own whose answer nobody gets."""


@dataclass
class _Talk:
    asked: bool = False
    told: int = 0
    """So many bytes of the answer went on."""


@dataclass(frozen=True)
class _Way:
    """One of the two. `heard`: something came; `double`: what goes on of what is to come twice; `give`: it goes on."""

    twice: Fault
    heard: Callable[[], None]
    double: Callable[[bytes], Awaitable[bytes]]
    give: Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class Proxy:
    """Passes TCP connections on from a loopback `port` to `target_host`:`target_port`.

    `latency`, in seconds, is that of a round trip: bytes are late by half of it each way, however many are under way.
    With `refuse` it resets whoever connects, and leaves open what is. Both may be set at any time.
    """

    host = "127.0.0.1"
    port: int
    connections: int
    """Accepted so far, those that were refused included."""
    round_trips: int
    """How often the target answered, in one piece or many, after something was sent to it."""

    def __init__(self, target_host: str, target_port: int, latency: float = 0.0) -> None:
        self.latency, self.refuse = latency, False
        self.connections = self.round_trips = 0
        self._target = target_host, target_port
        self._links = set[asyncio.Task[None]]()
        self._fault: Fault | None = None
        self._after, self._every_s = 0, 0.0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._place = _place(self.host)
        self.port = self._place.getsockname()[1]
        self._call(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def cut(self) -> None:
        """Resets all connections, both ways. What is under way is lost."""
        self._call(self._cut())

    def freeze(self) -> None:
        """Nothing goes on from now, not even the end of a connection, as if the cable were pulled."""
        self._call(self._let_through(False))

    def thaw(self) -> None:
        """Goes on with what was held."""
        self._call(self._let_through(True))

    def befall(self, fault: Fault, *, after: int = 0, every_s: float = 0.1) -> None:
        """Until it heals. `after`: so many bytes of each answer; `every_s`: a byte drips so often."""
        self._call(self._befall(fault, after, every_s))

    def heal(self) -> None:
        """What was lost stays lost."""
        self._call(self._heal())

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _open(self) -> None:
        self._thawed = asyncio.Event()
        self._thawed.set()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._link, self.host, self.port, reuse_port=True)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        await asyncio.sleep(0)  # transports close in the loop's next round

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _let_through(self, thawed: bool) -> None:
        if thawed:
            self._thawed.set()
        else:
            self._thawed.clear()

    async def _befall(self, fault: Fault, after: int, every_s: float) -> None:
        await self._heal()
        self._fault, self._after, self._every_s = fault, after, every_s
        if fault is Fault.REFUSE:
            await self._close()

    async def _heal(self) -> None:
        self._fault = None
        if not self._server.is_serving():
            await self._listen()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            if not self.refuse:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # it was cut
        finally:
            self._links.discard(link)
            _reset(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns when both sides are done, or one of them fails."""
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return
        talk = _Talk()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, far_writer, self._there(talk)))
                group.create_task(self._carry(far_reader, writer, self._back(talk)))
            writer.close()
            far_writer.close()
        except* OSError:
            pass
        finally:
            _reset(far_writer)

    # -- there and back ------------------------------------------------------------------------------------------------

    def _there(self, talk: _Talk) -> _Way:
        def heard() -> None:
            talk.asked, talk.told = True, 0

        async def double(question: bytes) -> bytes:
            await self._ask(question)
            return question

        async def give(writer: asyncio.StreamWriter, piece: bytes) -> None:
            if self._fault is Fault.RESET:
                raise ConnectionResetError
            if self._fault is not Fault.BLACKHOLE:
                await _write(writer, piece)

        return _Way(Fault.ASK_TWICE, heard, double, give)

    def _back(self, talk: _Talk) -> _Way:
        def heard() -> None:
            self.round_trips += talk.asked
            talk.asked = False

        async def double(answer: bytes) -> bytes:
            return 2 * answer

        async def give(writer: asyncio.StreamWriter, piece: bytes) -> None:
            told, talk.told = talk.told, talk.told + len(piece)
            match self._fault:
                case Fault.CUT | Fault.RESET_WITHIN if talk.told >= self._after:
                    await _write(writer, piece[: max(self._after - told, 0)])
                    if self._fault is Fault.CUT:
                        writer.close()
                    raise ConnectionAbortedError
                case Fault.DRIP:
                    await self._drip(writer, piece)
                case Fault.BLACKHOLE:
                    pass
                case _:
                    await _write(writer, piece)

        return _Way(Fault.ANSWER_TWICE, heard, double, give)

    async def _ask(self, question: bytes) -> None:
        reader, writer = await asyncio.open_connection(*self._target)
        await _write(writer, question)
        await reader.read(1)
        writer.close()

    async def _drip(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        while piece and self._fault is Fault.DRIP:
            await _write(writer, piece[:1])
            piece = piece[1:]
            await asyncio.sleep(self._every_s)
        await _write(writer, piece)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
        under_way = asyncio.Queue[Due]()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader, under_way, way))
            group.create_task(self._give(under_way, writer, way))

    async def _take(self, reader: asyncio.StreamReader, under_way: asyncio.Queue[Due], way: _Way) -> None:
        taken = b"-"
        while taken:
            taken = await reader.read(65536)
            if taken:
                way.heard()
            if taken and self._fault is way.twice:
                taken = await way.double(taken + await _rest(reader))
            under_way.put_nowait((self._loop.time() + self.latency / 2, taken))

    async def _give(self, under_way: asyncio.Queue[Due], writer: asyncio.StreamWriter, way: _Way) -> None:
        while True:
            due, taken = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await self._thawed.wait()
            if not taken:
                break
            await way.give(writer, taken)
        writer.write_eof()


async def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(piece)
    await writer.drain()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes without a pause."""
    rest, piece = b"", b"-"
    while piece:
        try:
            piece = await asyncio.wait_for(reader.read(65536), PAUSE_S)
        except TimeoutError:
            break
        rest += piece
    return rest


def _place(host: str) -> socket.socket:
    """A port to come back to: nobody else gets it while nobody listens there."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind((host, 0))
    return place


def _reset(writer: asyncio.StreamWriter) -> None:
    """Unless it is closed already, and perhaps still sending its last."""
    if not writer.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
