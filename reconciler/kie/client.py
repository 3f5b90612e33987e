"""The Kie client: one method per call of the port, each with a value for whatever the provider does."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar
from urllib.parse import quote

from reconciler.domain.catalogue import MODELS
from reconciler.domain.findings import (
    AnswerLost,
    Call,
    Creation,
    Credits,
    NothingMade,
    Refusal,
    SongAnswer,
    TaskAnswer,
    Trouble,
)
from reconciler.kie import answers, wire
from reconciler.kie.answers import Heard, Raw
from reconciler.ports import Order
from reconciler.transport import Reply, Request, TimedOut, Transport, TransportError

MAX_BYTES = 1024 * 1024
_SHORTEST_SECRET = 8
"""Shorter keys are no secrets, and blotting them out could spoil an answer."""

A = TypeVar("A")


class Observer(Protocol):
    """Hears of every call to Kie. `kind`: what was met that we do not know, a word of `answers.Odd`."""

    def called(self, operation: str, call: Call, seconds: float) -> None: ...

    def unexpected(self, kind: str) -> None: ...


class Unobserved:
    def called(self, operation: str, call: Call, seconds: float) -> None:
        pass

    def unexpected(self, kind: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Silence:
    """Why there is no reply to judge."""

    call: Call
    detail: str
    refusal: Refusal = Refusal.OUTAGE
    sent: bool = False


_NO_KEY = _Silence(Call.UNAUTHORIZED, "there is no API key: set kie.api_key or RECONCILER_KIE__API_KEY", Refusal.KEY)


class KieReader:
    """The part of Kie that only answers. The keys go to `base_url` alone; `suno_api_key`, if given, asks for songs."""

    def __init__(
        self,
        transport: Transport,
        *,
        base_url: str,
        api_key: str,
        suno_api_key: str = "",
        request_timeout: timedelta = timedelta(seconds=30),
        observer: Observer | None = None,
    ) -> None:
        self._transport = transport
        self._base = base_url.rstrip("/")
        self._key, self._suno_key = api_key, suno_api_key or api_key
        self._timeout = request_timeout
        self._observer = observer or Unobserved()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r})"

    def task(self, task_id: str) -> TaskAnswer:
        request = self._query(f"/api/v1/jobs/recordInfo?taskId={_quoted(task_id)}")
        return self._ask("record", self._key, request, partial(answers.task, asked=task_id), _query_unheard)

    def song(self, song_id: str) -> SongAnswer:
        request = self._query(f"/api/v1/generate/record-info?taskId={_quoted(song_id)}")
        heard = answers.song if self._suno_key == self._key else _song_of_another_account
        return self._ask("suno_record", self._suno_key, request, partial(heard, asked=song_id), _query_unheard)

    def credit(self) -> Credits | Trouble:
        return self._ask("credit", self._key, self._query("/api/v1/chat/credit"), answers.credit, _query_unheard)

    def _query(self, path: str) -> Request:
        return Request("GET", self._base + path, {})

    def _ask(
        self,
        operation: str,
        key: str,
        request: Request,
        heard: Callable[[Raw], Heard[A]],
        unheard: Callable[[_Silence], A],
    ) -> A:
        if not key:
            return unheard(_NO_KEY)
        request = replace(request, headers={"Authorization": f"Bearer {key}", **request.headers})
        started = time.monotonic()
        answer = self._send(request, heard, unheard)
        self._observer.called(operation, answer.call, time.monotonic() - started)
        if answer.odd is not None:
            self._observer.unexpected(answer.odd)
        return answer.answer

    def _send(self, request: Request, heard: Callable[[Raw], Heard[A]], unheard: Callable[[_Silence], A]) -> Heard[A]:
        try:
            reply = self._transport.send(request, deadline=self._timeout, max_bytes=MAX_BYTES)
        except TransportError as error:
            call = Call.TIMEOUT if isinstance(error, TimedOut) else Call.CONNECT_ERROR
            return Heard(unheard(_Silence(call, wire.said(error.detail), sent=error.sent)), call)
        return heard(self._raw(reply))

    def _raw(self, reply: Reply) -> Raw:
        """The reply, with our keys blotted out wherever it repeats them."""
        body = reply.body
        for key in (self._key, self._suno_key):
            if len(key) >= _SHORTEST_SECRET:
                body = body.replace(key.encode(errors="replace"), b"***")
        said_at = wire.http_date(reply.headers.get("date")) or self._transport.now()
        return Raw(reply.status, body, reply.headers.get("retry-after"), said_at, reply.complete)


class KieClient(KieReader):
    """Implements `ports.Kie`: what can ask, and can buy."""

    def create(self, order: Order) -> Creation:
        model = MODELS.get(order.model)
        if model is None:
            detail = f"kie.model: {order.model!r} is not a model that we know"
            return _creation_unheard(_Silence(Call.REJECTED, detail, Refusal.REQUEST))
        picture = model.request(order.prompt, order.target)
        callback = {"callBackUrl": order.callback_url} if order.callback_url is not None else {}
        request = Request(
            "POST",
            f"{self._base}/api/v1/jobs/createTask",
            {"Content-Type": "application/json"},
            json.dumps({"model": model.name, "input": picture, **callback}).encode(),
            order.send_before,
        )
        return self._ask("create", self._key, request, answers.creation, _creation_unheard)


def _quoted(identity: str) -> str:
    return quote(identity, safe="", errors="replace")


def _song_of_another_account(raw: Raw, asked: str) -> Heard[SongAnswer]:
    """What is told of that key, its credits and its rate says nothing of the account that buys."""
    heard = answers.song(raw, asked)
    match heard.answer:
        case Trouble(refusal=Refusal.KEY | Refusal.KEY_CAP | Refusal.CREDITS | Refusal.RATE) as trouble:
            detail = wire.said(f"Kie refuses kie.suno_api_key: {trouble.detail}")
            return replace(heard, answer=replace(trouble, detail=detail, refusal=Refusal.OUTAGE))
        case _:
            return heard


def _creation_unheard(silence: _Silence) -> Creation:
    if silence.sent:
        return AnswerLost(silence.call, silence.detail)
    return NothingMade(silence.refusal, silence.call, silence.detail, sent=False)


def _query_unheard(silence: _Silence) -> Trouble:
    return Trouble(silence.call, silence.detail, silence.refusal)
