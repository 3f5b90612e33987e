"""The ways to Kie, to its files and to our own public URL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from reconciler.app.clock import ServerClock, utc_now
from reconciler.app.errors import AuthoritiesUnfit
from reconciler.config import Settings, policy_of
from reconciler.domain.policy import Policy
from reconciler.domain.urls import redact
from reconciler.images import redirects
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.images.proof import StoreProof
from reconciler.kie.client import KieClient, KieReader, Observer
from reconciler.transport import NoAuthorities, Request, Transport, TransportError

K = TypeVar("K", bound=KieReader)


@dataclass(frozen=True, slots=True)
class Provider:
    """The ways to Kie and to its files, and what is known of the store that they go to."""

    api: Transport
    files: Transport
    settings: Settings
    policy: Policy
    clock: ServerClock
    proof: StoreProof = field(default_factory=StoreProof)

    def reader(self) -> KieReader:
        return self._kie(KieReader)

    def client(self, observer: Observer) -> KieClient:
        return self._kie(KieClient, observer)

    def _kie(self, kind: type[K], observer: Observer | None = None) -> K:
        kie = self.settings.kie
        return kind(
            self.api,
            base_url=kie.base_url,
            api_key=kie.api_key.get_secret_value(),
            suno_api_key=kie.suno_api_key.get_secret_value(),
            request_timeout=kie.request_timeout,
            observer=observer,
        )

    def pictures(self, pace: Callable[[str], None] = lambda _: None) -> WebPictures:
        """`pace` is asked before each request with the name of the host."""
        return WebPictures(self.policy, self.files, pace=pace)


@contextmanager
def provider(settings: Settings) -> Iterator[Provider]:
    """Raises AuthoritiesUnfit."""
    policy, clock = policy_of(settings), ServerClock()
    try:
        api = Transport(clock=clock)
        files = vetted_transport(policy, clock)
    except NoAuthorities as error:
        raise AuthoritiesUnfit(str(error)) from error
    try:
        yield Provider(api, files, settings, policy, clock)
    finally:
        api.close()
        files.close()


@dataclass(frozen=True, slots=True)
class Served:
    """What `public_url` answers for a key. `status` None: nothing was reached there, or it was not even `asked`."""

    status: int | None
    data: bytes
    detail: str
    asked: bool = True


def served(settings: Settings, key: str) -> Served:
    """Asked without vetting the address: `public_url` is the operator's own, and so is where it redirects to."""
    try:
        transport = Transport(clock=utc_now)
    except NoAuthorities as error:
        return Served(None, b"", str(error), asked=False)
    try:
        return _answer(transport, policy_of(settings).url_of(key), settings.kie.request_timeout)
    finally:
        transport.close()


def _answer(transport: Transport, url: str, within: timedelta) -> Served:
    """After all redirects, as browsers follow them."""
    ends, status, via = monotonic() + within.total_seconds(), None, ""
    for _ in range(redirects.MOST + 1):
        left = timedelta(seconds=ends - monotonic())
        try:
            reply = transport.send(Request("GET", url, {}), deadline=left, max_bytes=1024)
        except TransportError as error:
            return Served(status, b"", f"{via}{error.detail}")
        target = redirects.target(url, reply) if redirects.leads_on(reply) else None
        if target is None:
            return Served(reply.status, reply.body, f"{via}answered {reply.status}")
        url, status, via = target, reply.status, f"redirects to {redact(target)}: "
    return Served(status, b"", f"redirects more than {redirects.MOST} times")
