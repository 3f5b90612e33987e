"""What an answer of Kie means: pure functions of HTTP status and body, total over both.

The body leads, not the status; the state decides, not the URL; what is not known is said to be so and counted.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Creation,
    Credits,
    Failed,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongAnswer,
    SongFinal,
    SongPending,
    Succeeded,
    TaskAnswer,
    Trouble,
)
from reconciler.kie import refusals, wire

_RUNNING = frozenset({"waiting", "queuing", "generating"})
_FAILED_CODES = frozenset({501, 531})
_SONG_RUNNING = frozenset({"PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"})
_SONG_FAILED = frozenset({"CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR"})
_SONG_MADE = frozenset({"SUCCESS", "CALLBACK_EXCEPTION"})
"""CALLBACK_EXCEPTION is about Kie's call to somebody else; the songs may be there."""
_LONGEST_WAIT_S = 86_400.0

A_co = TypeVar("A_co", covariant=True)


class Odd(StrEnum):
    """What was met that we do not know; the words of `kie_unexpected_total`."""

    STATE = "state"
    CODE = "code"
    SHAPE = "shape"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Heard(Generic[A_co]):
    """An answer, the call's outcome, and what was odd about it."""

    answer: A_co
    call: Call = Call.OK
    odd: Odd | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """An HTTP reply. `retry_after`: the header as it came. `said_at`: by the clock of who says it, where that is known.
    Not `complete`: the body was cut and is not to be read.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    said_at: datetime | None = None
    complete: bool = True

    def envelope(self) -> wire.Envelope | None:
        return wire.Envelope.read(wire.loads(self.body)) if self.complete else None

    def uncoded_data(self) -> object:
        """The data of a success that lacks only the envelope's code."""
        body = wire.loads(self.body) if self.complete and 200 <= self.status < 300 else None
        return body.get("data") if isinstance(body, dict) else None

    def text(self) -> str:
        return wire.said(f"HTTP {self.status}: {self.body[:2000].decode('utf-8', 'replace')}")

    def wait_s(self) -> float | None:
        """The seconds of a Retry-After; a date's are counted from `said_at`, and not read without."""
        text = (self.retry_after or "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            return min(float(text), _LONGEST_WAIT_S)
        until = wire.http_date(text)
        if until is None or self.said_at is None:
            return None
        return min(max((until - self.said_at).total_seconds(), 0.0), _LONGEST_WAIT_S)


# -- creations -----------------------------------------------------------------------------------------------------


def creation(raw: Raw) -> Heard[Creation]:
    """A task id, or a result in an answer that says success, wins over everything. Lost: only where nothing says no."""
    envelope = raw.envelope()
    if envelope is None:
        return _unreadable_creation(raw)
    task_id = wire.task_id(envelope.data)
    at_once = isinstance(envelope.data, dict) and (task_id is not None or envelope.code == 200)
    urls = wire.urls_at_once(envelope.data) if at_once else ()
    if task_id is not None or urls:
        return Heard(Accepted(task_id, urls))
    detail = _told(envelope)
    if _unsure(raw.status):
        return _lost(_call_of(raw.status), detail, None)
    if envelope.code < 400:
        return _lost(Call.MALFORMED, detail, Odd.SHAPE if envelope.code == 200 else Odd.CODE)
    refusal = refusals.of(envelope.code, envelope.msg)
    odd = None if refusals.known(envelope.code) else Odd.CODE
    return _nothing(refusals.call(refusal), refusal, detail, raw, odd)


def _unreadable_creation(raw: Raw) -> Heard[Creation]:
    task_id = wire.task_id(raw.uncoded_data())
    if task_id is not None:
        return Heard(Accepted(task_id), odd=Odd.SHAPE)
    if _unsure(raw.status):
        return _lost(_call_of(raw.status), raw.text(), Odd.STATUS)
    if 400 <= raw.status < 500:
        call, refusal = refusals.call_of_status(raw.status), refusals.of_status(raw.status)
        return _nothing(call, refusal, raw.text(), raw, Odd.STATUS)
    return _lost(Call.MALFORMED, raw.text(), Odd.SHAPE)


def _unsure(status: int) -> bool:
    """The edge answered for an API that may have acted."""
    return status == 408 or status >= 500


def _lost(call: Call, detail: str, odd: Odd | None) -> Heard[Creation]:
    return Heard(AnswerLost(call, detail, heard=True), call, odd)


def _nothing(call: Call, refusal: Refusal, detail: str, raw: Raw, odd: Odd | None) -> Heard[Creation]:
    return Heard(NothingMade(refusal, call, detail, retry_after_s=raw.wait_s()), call, odd)


# -- queries -------------------------------------------------------------------------------------------------------


def task(raw: Raw, asked: str = "") -> Heard[TaskAnswer]:
    """A record that names another task than the one `asked` for answers another question.

    Without a record an edge's error is never believed: not that a task has failed, nor that there is none.
    """
    envelope = raw.envelope()
    record = wire.Record.read(_data_of(raw, envelope))
    if record is not None:
        return _of_another(record, asked, raw) or _counted(_judged(record), envelope)
    if envelope is not None and envelope.code in _FAILED_CODES and not _unsure(raw.status):
        return Heard(Failed(refusals.by_words(envelope.msg), _told(envelope)))
    return _absent(raw, envelope) or _troubled(raw, envelope)


def _data_of(raw: Raw, envelope: wire.Envelope | None) -> object:
    return raw.uncoded_data() if envelope is None else envelope.data


def _counted(heard: Heard[A_co], envelope: wire.Envelope | None) -> Heard[A_co]:
    """That there was no envelope to read is odd, too."""
    return replace(heard, odd=heard.odd or Odd.SHAPE) if envelope is None else heard


def _of_another(record: wire.Record | wire.SunoRecord, asked: str, raw: Raw) -> Heard[Trouble] | None:
    if not asked or record.task_id in ("", asked):
        return None
    return _trouble(Call.MALFORMED, Refusal.OUTAGE, wire.said(f"this is task {record.task_id}"), raw, Odd.SHAPE)


def _judged(record: wire.Record) -> Heard[TaskAnswer]:
    match record.state:
        case "success":
            urls = record.urls
            times = record.created_at, record.completed_at
            done = Succeeded(urls, *times, record.param.prompt, record.call_back_url)
            return Heard(done, odd=None if urls else Odd.SHAPE)
        case "fail":
            words = f"{record.fail_msg} {record.fail_code}"
            detail = wire.said(f"{record.fail_code} {record.fail_msg}")
            return Heard(Failed(refusals.by_words(words), detail, record.created_at, record.call_back_url))
        case word:
            odd = None if word in _RUNNING else Odd.STATE
            return Heard(Running(record.created_at, record.call_back_url), odd=odd)


def song(raw: Raw, asked: str = "") -> Heard[SongAnswer]:
    """As with an image task, a record that names another one answers another question."""
    envelope = raw.envelope()
    record = wire.SunoRecord.read(_data_of(raw, envelope))
    if record is not None:
        return _of_another(record, asked, raw) or _counted(_heard_song(record), envelope)
    return _absent(raw, envelope) or _troubled(raw, envelope)


def _heard_song(record: wire.SunoRecord) -> Heard[SongAnswer]:
    if record.status in _SONG_MADE:
        return Heard(SongFinal(record.covers))
    if record.status in _SONG_FAILED or record.lost:
        return Heard(SongFinal())
    return Heard(SongPending(), odd=None if record.status in _SONG_RUNNING else Odd.STATE)


def credit(raw: Raw) -> Heard[Credits | Trouble]:
    envelope = raw.envelope()
    balance = wire.balance(envelope.data) if envelope is not None and envelope.code == 200 else None
    return Heard(Credits(balance)) if balance is not None else _troubled(raw, envelope)


def _absent(raw: Raw, envelope: wire.Envelope | None) -> Heard[NotFound] | None:
    if envelope is None or envelope.data is not None or _unsure(raw.status):
        return None
    if not refusals.absent(envelope.code, envelope.msg, null=envelope.null):
        return None
    return Heard(NotFound(_told(envelope)), Call.NOT_FOUND)


def _troubled(raw: Raw, envelope: wire.Envelope | None) -> Heard[Trouble]:
    if envelope is None:
        return _unreadable_query(raw)
    if envelope.code < 400:
        odd = Odd.SHAPE if envelope.code == 200 else Odd.CODE
        return _trouble(Call.MALFORMED, Refusal.OUTAGE, _told(envelope), raw, odd)
    refusal = refusals.of(envelope.code, envelope.msg)
    odd_code = None if refusals.known(envelope.code) else Odd.CODE
    return _trouble(refusals.call(refusal), refusal, _told(envelope), raw, odd_code)


def _unreadable_query(raw: Raw) -> Heard[Trouble]:
    if _unsure(raw.status):
        return _trouble(_call_of(raw.status), Refusal.OUTAGE, raw.text(), raw, Odd.STATUS)
    if raw.status >= 400:
        call, refusal = refusals.call_of_status(raw.status), refusals.of_status(raw.status)
        return _trouble(call, refusal, raw.text(), raw, Odd.STATUS)
    return _trouble(Call.MALFORMED, Refusal.OUTAGE, raw.text(), raw, Odd.SHAPE)


def _trouble(call: Call, refusal: Refusal, detail: str, raw: Raw, odd: Odd | None) -> Heard[Trouble]:
    return Heard(Trouble(call, detail, refusal, raw.wait_s()), call, odd)


def _call_of(status: int) -> Call:
    return Call.TIMEOUT if status in (408, 504) else Call.SERVER_ERROR


def _told(envelope: wire.Envelope) -> str:
    return wire.said(f"code {envelope.code}: {envelope.msg}")
