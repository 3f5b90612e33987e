"""A network between a program and its server that tests can make slow, silent or broken."""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")
Due = tuple[float, bytes]
"""What goes on, and when; b"" is the end."""


@dataclass
class _Talk:
    asked: bool = False


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

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

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

    def _call(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._server = await asyncio.start_server(self._link, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

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
                group.create_task(self._carry(reader, far_writer, lambda: self._asked(talk)))
                group.create_task(self._carry(far_reader, writer, lambda: self._answered(talk)))
            writer.close()
            far_writer.close()
        except* OSError:
            pass
        finally:
            _reset(far_writer)

    def _asked(self, talk: _Talk) -> None:
        talk.asked = True

    def _answered(self, talk: _Talk) -> None:
        self.round_trips += talk.asked
        talk.asked = False

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[], None]
    ) -> None:
        under_way = asyncio.Queue[Due]()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(reader, under_way, heard))
            group.create_task(self._give(under_way, writer))

    async def _take(
        self, reader: asyncio.StreamReader, under_way: asyncio.Queue[Due], heard: Callable[[], None]
    ) -> None:
        taken = b"-"
        while taken:
            taken = await reader.read(65536)
            under_way.put_nowait((self._loop.time() + self.latency / 2, taken))
            if taken:
                heard()

    async def _give(self, under_way: asyncio.Queue[Due], writer: asyncio.StreamWriter) -> None:
        while True:
            due, taken = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await self._thawed.wait()
            if not taken:
                break
            writer.write(taken)
            await writer.drain()
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Unless it is closed already, and perhaps still sending its last."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
