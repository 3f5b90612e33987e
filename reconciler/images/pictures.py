"""The port `Pictures` over the web."""

import time
from collections.abc import Callable
from datetime import datetime

from reconciler.domain.findings import Fault, Flawed, Refused, Sized
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw
from reconciler.images.addresses import vetting
from reconciler.images.download import Downloader, Head
from reconciler.images.fit import prepare
from reconciler.images.formats import Short
from reconciler.images.inline import decoded, is_inline
from reconciler.images.probe import probe, probe_whole, sized
from reconciler.ports import Prepared
from reconciler.transport import Transport

_STEPS = (64 * 1024, 512 * 1024)
"""How much is asked for to find a size, before all is: the first is enough but for large metadata."""


def vetted_transport(policy: Policy, clock: Callable[[], datetime]) -> Transport:
    """What pictures are got through: it connects to public addresses only, and to loopback for `insecure_hosts`."""
    return Transport(vet=vetting(policy.insecure_hosts), clock=clock)


class WebPictures:
    """ports.Pictures. Every method may be called by several threads; none raises but MemoryError."""

    def __init__(
        self,
        policy: Policy,
        transport: Transport,
        monotonic: Callable[[], float] = time.monotonic,
        pace: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._target = policy.target
        self._downloads = Downloader(transport, policy, monotonic, pace)

    def measure(self, url: str) -> Sized | Flawed | Refused | Fault:
        if is_inline(url):
            data = decoded(url)
            return self.measure_bytes(data) if isinstance(data, bytes) else data
        ends, needed = self._downloads.deadline(), 0
        for wanted in _STEPS:
            if wanted < needed:
                continue
            got = self._downloads.head(url, wanted, ends=ends)
            if not isinstance(got, Head):
                return got
            found = probe_whole(got.data) if got.whole else probe(got.data)
            if isinstance(found, Flawed) and found.flaw is Flaw.TRUNCATED:
                break  # some servers tell a part's length as the whole's
            if not isinstance(found, Short):
                return sized(found)
            if len(got.data) < wanted:
                break  # the server cuts ranges short
            needed = found.needed
        whole = self._downloads.whole(url, bound=False, ends=ends)
        return self.measure_bytes(whole.data) if isinstance(whole, Head) else whole

    def measure_bytes(self, data: bytes) -> Sized | Flawed:
        """All of the bytes: also told is whether the end is missing."""
        return sized(probe_whole(data))

    def fetch(self, url: str, *, bound: bool) -> bytes | Flawed | Refused | Fault:
        if is_inline(url) and not bound:
            return decoded(url)
        got = self._downloads.whole(url, bound=bound, ends=self._downloads.deadline())
        return got.data if isinstance(got, Head) else got

    def prepare(self, data: bytes, *, interim: bool) -> Prepared | Flawed:
        return prepare(data, self._target, interim=interim)
