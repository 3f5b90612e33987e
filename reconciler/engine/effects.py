"""Carrying out one effect: the world is asked or changed, a finding comes back. No database, no decision."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from reconciler.domain.actions import AskSong, AskTask, Fetch, Job, ListStore, Measure, RowImage, RowPicture, StoredKey
from reconciler.domain.findings import (
    Call,
    Creation,
    Fault,
    Finding,
    Flawed,
    Listing,
    NothingMade,
    PictureFinding,
    Refusal,
    Refused,
    Stored,
)
from reconciler.domain.keys import is_of
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason
from reconciler.ports import Clock, Kie, KieReader, Order, Pictures, Store, StoreError, StoreReader

Asking = Measure | AskTask | AskSong | ListStore
"""Effects that cost nothing and change nothing."""

J = TypeVar("J", Asking, Job)


def whole(job: J, inline: str | None) -> J:
    """The job with an inline picture's whole value in the place of its head."""
    if isinstance(job, Measure | Fetch) and isinstance(job.source, RowImage) and job.source.inline:
        return replace(job, source=replace(job.source, url=inline or ""))
    return job


@dataclass(frozen=True, slots=True)
class Eyes:
    """What is needed to look without touching: nothing here can buy, store or write."""

    kie: KieReader
    pictures: Pictures
    store: StoreReader

    def ask(self, track_id: str, effect: Asking) -> Finding:
        match effect:
            case Measure(source=source):
                return self._measure(source)
            case AskTask(task_id=task_id):
                return self.kie.task(task_id)
            case AskSong(song_id=song_id):
                return self.kie.song(song_id)
            case ListStore():
                return self._list(track_id)
            case _:  # pragma: no cover
                assert_never(effect)

    def read_stored(self, key: str) -> bytes | Refused | Fault:
        """The stored bytes, compared with the hash that their key carries."""
        try:
            data = self.store.get(key)
        except StoreError as error:
            return Fault(Reason.STORAGE_FAILED, str(error))
        if data is None:
            return Refused(f"the store has no {key}")
        if not is_of(key, data):
            return Refused(f"the bytes of {key} are not the ones that were stored")
        return data

    def _measure(self, source: RowPicture) -> PictureFinding:
        if isinstance(source, RowImage):
            return self.pictures.measure(source.url)
        data = self.read_stored(source.key)
        return self.pictures.measure_bytes(data) if isinstance(data, bytes) else data

    def _list(self, track_id: str) -> Listing | Fault:
        try:
            return Listing(tuple(self.store.keys(track_id)))
        except StoreError as error:
            return Fault(Reason.STORAGE_FAILED, str(error))


@dataclass(frozen=True, slots=True)
class Hands(Eyes):
    """What can fetch, store and buy, too."""

    kie: Kie
    store: Store
    policy: Policy
    clock: Clock

    def perform(self, track_id: str, job: Job, may_go_on: Callable[[], bool]) -> Finding:
        """`may_go_on`: whether an order may still be sent, asked right before it is."""
        match job:
            case Fetch():
                return self._fetch(track_id, job)
            case Purchase():
                return self._buy(track_id, job, may_go_on)
            case ListStore():
                return self._list_before_buying(track_id)
            case Measure() | AskTask() | AskSong():
                return self.ask(track_id, job)
            case _:  # pragma: no cover
                assert_never(job)

    def _list_before_buying(self, track_id: str) -> Listing | Fault:
        """An order may be next: the store is tried now, since an order's time would run out meanwhile."""
        listing = self._list(track_id)
        if isinstance(listing, Listing):
            with suppress(StoreError):
                self.store.prove(track_id)
        return listing

    def _fetch(self, track_id: str, fetch: Fetch) -> PictureFinding:
        source = fetch.source
        if isinstance(source, StoredKey):
            return (
                self._recheck(track_id, source.key)
                if self.policy.keeps
                else self._recheck_at_its_url(track_id, source.key)
            )
        data = self.pictures.fetch(source.url, bound=not isinstance(source, RowImage))
        return self._keep(track_id, data, source.url, interim=fetch.interim) if isinstance(data, bytes) else data

    def _keep(self, track_id: str, data: bytes, url: str, *, interim: bool) -> PictureFinding:
        """`url`: where the picture stays if nothing is stored."""
        prepared = self.pictures.prepare(data, interim=False)
        stand_in = interim and isinstance(prepared, Flawed)
        if stand_in:
            prepared = self.pictures.prepare(data, interim=True)
        if isinstance(prepared, Flawed):
            return prepared
        try:
            key = self.store.put(track_id, prepared) if self.policy.keeps else url
        except StoreError as error:
            return Fault(Reason.STORAGE_FAILED, str(error))
        return Stored(key, prepared.width, prepared.height, prepared.sha256, interim=stand_in)

    def _recheck(self, track_id: str, key: str) -> PictureFinding:
        """Compare a stored picture with its hash; one kept under another target is fitted anew, under its own key."""
        data = self.read_stored(key)
        if not isinstance(data, bytes):
            return data
        size = self.pictures.measure_bytes(data)
        if isinstance(size, Flawed):
            return size
        target = self.policy.target
        if target.usable(size.width, size.height) and not target.met_by(size.width, size.height):
            return self._keep(track_id, data, "", interim=False)
        interim = not target.usable(size.width, size.height)
        return Stored(key, size.width, size.height, hashlib.sha256(data).hexdigest(), interim)

    def _recheck_at_its_url(self, track_id: str, url: str) -> PictureFinding:
        """Whether a picture that was left where it lies is still there, and whole."""
        data = self.pictures.fetch(url, bound=True)
        return self._keep(track_id, data, url, interim=True) if isinstance(data, bytes) else data

    def _buy(self, track_id: str, purchase: Purchase, may_go_on: Callable[[], bool]) -> Creation:
        """Nothing is ordered that could not be stored, nor by a run that has ended while the store was asked."""
        try:
            self.store.check()
            self.store.prove(track_id)
        except StoreError as error:
            return _not_ordered(Refusal.STORE, str(error))
        if self.clock() > purchase.send_before:
            return _not_ordered(Refusal.STORE, "the time to send it had run out once the store was asked")
        if not may_go_on():
            return _not_ordered(Refusal.STOPPED, "the run ended before it was sent")
        target, callback_url = self.policy.target, self.policy.callback_of(purchase.token)
        return self.kie.create(Order(purchase.model, purchase.prompt, target, purchase.send_before, callback_url))


def _not_ordered(refusal: Refusal, why: str) -> NothingMade:
    return NothingMade(refusal, Call.REJECTED, why, sent=False)
