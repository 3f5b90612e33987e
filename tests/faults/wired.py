"""A world whose calls go over real sockets, each through a network of its own; days still pass in moments."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reconciler.database import Database
from reconciler.domain.findings import Finding
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.engine.effects import Hands
from reconciler.engine.events import Found, Mistake, Result
from reconciler.engine.parts import Parts
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.kie.client import KieClient
from reconciler.kie.simulated import API_KEY, KieServer, Settings, Succeed, belongs_to
from reconciler.testing.world import PUBLIC_URL, AppDatabase, World, Wrap
from reconciler.transport import Transport
from tests.proxy import Fault, Proxy

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WIDTH, HEIGHT = 160, 90
TRACKS = "abc"
SOON = timedelta(milliseconds=300)
"""Time for a call that nobody will answer."""
SILENT = frozenset({Fault.BLACKHOLE, Fault.DRIP})
"""Nothing but a time-out ends what they befall."""
ALL_OK = {(State.OK, None): len(TRACKS)}


def cases(*cuts: int, without: Collection[Fault] = ()) -> pytest.MarkDecorator:
    """Each fault once, but for those within an answer: after so many bytes of it."""
    within = (Fault.CUT, Fault.RESET_WITHIN)
    once = [pytest.param(fault, 0, id=fault) for fault in Fault if fault not in (*within, *without)]
    several = [pytest.param(fault, cut, id=f"{fault} {cut}") for fault in within for cut in cuts]
    return pytest.mark.parametrize(("fault", "after"), once + several)


def each(times: int) -> dict[str, int]:
    """Purchases for each track."""
    return dict.fromkeys(TRACKS, times)


class Wired(World):
    """`kie_network`: to Kie; `files_network`: to where its results lie."""

    kie_network: Proxy
    files_network: Proxy

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(folder, **given)
        self._transports: list[Transport] = []

    def run(
        self, length: timedelta = 10 * MINUTE, *, wrap: Wrap | None = None, owner: str = "one", **bounds: Any
    ) -> Result:
        try:
            return super().run(length, wrap=wrap, owner=owner, **bounds)
        finally:
            while self._transports:
                self._transports.pop().close()

    def parts(self, database: Database, around: Wrap = lambda _, port: port) -> Parts:
        api = Transport(clock=self.clock)
        files = vetted_transport(self.policy, self.clock)
        self._transports += [api, files]
        there = f"http://{self.kie_network.host}:{self.kie_network.port}"
        client = KieClient(api, base_url=there, api_key=API_KEY, request_timeout=self.policy.request_timeout)
        kie, pictures = around("kie", client), around("pictures", WebPictures(self.policy, files))
        store = around("store", self.store)
        hands = Hands(kie, pictures, store, self.policy, self.clock)
        return replace(super().parts(database, around), hands=hands)

    # -- judging -----------------------------------------------------------------------------------------------------

    def bought(self) -> dict[str, int]:
        """How often for each track, as Kie has it in its book."""
        return {track_id: len(self.kie.book.purchases_for(f"called {track_id} ")) for track_id in TRACKS}

    def answers(self) -> list[Finding]:
        """What came of all steps so far, in order."""
        return [event.finding for event in self.events if isinstance(event, Found)]

    def recovered(self) -> Result:
        """By itself, now that nothing befalls anybody: each track shows a picture of its own, whole and of its size."""
        self.with_policy(request_timeout=Policy().request_timeout)
        result = self.run(DAY)
        assert result.states == {(State.OK, None): len(self.rows())}
        assert [track_id for track_id in TRACKS if not self._shows_its_own(track_id)] == []
        assert [event for event in self.events if isinstance(event, Mistake)] == []
        assert self.kie.book.errors == []
        return result

    def _shows_its_own(self, track_id: str) -> bool:
        row, data = self.row(track_id), self.picture(track_id)
        if row["resolution"] != f"{WIDTH}x{HEIGHT}" or data is None:
            return False
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            return picture.size == (WIDTH, HEIGHT) and belongs_to(data, row["extended_prompt_image"])


@contextmanager
def wired(folder: Path, *, app: AppDatabase | None = None, **policy: Any) -> Iterator[Wired]:
    """Its tracks wait for pictures, which are small and soon done. Named arguments are the policy's."""
    given = {
        "public_url": PUBLIC_URL,
        "per_hour": 10_000,
        "per_day": 10_000,
        "target": Target(WIDTH, HEIGHT),
        "insecure_hosts": ("127.0.0.1",),
        **policy,
    }
    with ExitStack() as stack:
        world = Wired(folder, policy=Policy(**given), kie=Settings(credits=100_000), app=app)
        server = stack.enter_context(KieServer(world.kie))
        port = int(server.base_url.rpartition(":")[2])
        world.kie_network, world.files_network = (stack.enter_context(Proxy(Proxy.host, port)) for _ in range(2))
        world.kie.files_url = f"http://{Proxy.host}:{world.files_network.port}/files"
        world.kie.script.when(Succeed(width=WIDTH, height=HEIGHT, run=timedelta(seconds=2)))
        for track_id in TRACKS:
            world.add(track_id, extended_prompt_image=f"a lighthouse called {track_id} in morning mist")
        yield world
