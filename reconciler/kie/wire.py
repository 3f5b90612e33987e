"""Kie's formats, read tolerantly: more keys than expected are fine, and whatever cannot be used is None or empty.

Nothing here raises for any body. Source: recorded answers and documentation, November 2026.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_URLS = 6
_MAX_URL, _MAX_ID, _MAX_SAID = 4096, 200, 300
_MAX_NESTING = 8
_AT_ONCE_KEYS = frozenset({"resultUrls", "resultUrl", "resultObject", "imageUrl"})
_RESULT_KEYS = _AT_ONCE_KEYS | {"image_url", "url"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""No task of Kie's is as old: an earlier time is a zero, or in seconds."""
_WEB = re.compile(r"(https?)(://[^\s/?#]+(?:[/?#].*)?)", re.IGNORECASE)
_SECRET_PARTS = re.compile(r"(https?://)(?:[^/\s@]*@)?([^\s?#]*)(?:[?#]\S*)?", re.IGNORECASE)


def said(text: str) -> str:
    """A provider's text, safe to log and to show: one short line without control characters and without URL queries."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * _MAX_SAID])
    return " ".join(_SECRET_PARTS.sub(r"\1\2", line).split())[:_MAX_SAID]


def loads(text: str | bytes) -> Any:
    """The JSON value, or None where there is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def unpacked(value: object) -> object:
    """The value inside JSON text, as often as it was encoded; anything else as it is."""
    for _ in range(_MAX_NESTING):
        if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
            break
        value = loads(value)
    return value


# -- fields --------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _code(value: object) -> object:
    """Digits as text and a whole float are the number that they write."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(value: object) -> datetime | None:
    """Epoch milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        moment = _EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        return None
    return moment if moment >= _EARLIEST else None


def _mapping(value: object) -> dict[str, Any]:
    value = unpacked(value)
    return value if isinstance(value, dict) else {}


Text = Annotated[str, BeforeValidator(_text)]
Code = Annotated[int, BeforeValidator(_code)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Mapped = Annotated[dict[str, Any], BeforeValidator(_mapping)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def read(cls, value: object) -> Self | None:
        """None when a field that decides is missing or of the wrong kind."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


class Envelope(_Wire):
    """`data` None: missing or null."""

    code: Code
    newer_msg: Text = Field("", alias="msg")
    older_msg: Text = Field("", alias="message")
    data: Any = None

    @property
    def msg(self) -> str:
        """One key may be there and say nothing beside the other."""
        return self.newer_msg if self.newer_msg.strip() else self.older_msg

    @property
    def null(self) -> bool:
        """There is a `data`, and it says null."""
        return self.data is None and "data" in self.model_fields_set


class Param(_Wire):
    """What a task was ordered with."""

    input: Mapped = Field(default_factory=dict)
    call_back_url: str | None = Field(None, alias="callBackUrl")

    @property
    def prompt(self) -> str | None:
        prompt = self.input.get("prompt")
        return prompt if isinstance(prompt, str) else None


class Record(_Wire):
    """An image task. `state` decides; nothing else does."""

    state: str
    task_id: Text = Field("", alias="taskId")
    result: Any = Field(None, alias="resultJson")
    response: Any = None
    fail_code: Text = Field("", alias="failCode")
    fail_msg: Text = Field("", alias="failMsg")
    created_at: Moment = Field(None, alias="createTime")
    completed_at: Moment = Field(None, alias="completeTime")
    older_param: Mapped = Field(default_factory=dict, alias="param")
    newer_param: Mapped = Field(default_factory=dict, alias="paramJson")

    @property
    def urls(self) -> tuple[str, ...]:
        return result_urls(self.result) or result_urls(self.response)

    @property
    def param(self) -> Param:
        """One key may be there and hold nothing beside the other."""
        held = (Param.read(raw) for raw in (self.older_param, self.newer_param) if raw)
        return next((param for param in held if param is not None), Param())

    @property
    def call_back_url(self) -> str | None:
        return next(iter(_usable([self.param.call_back_url])), None)


class SunoRecord(_Wire):
    """A music task; its songs in both casings, and wherever they are listed."""

    status: str
    task_id: Text = Field("", alias="taskId")
    error_code: Text = Field("", alias="errorCode")
    error_message: Text = Field("", alias="errorMessage")
    response: Any = None
    data: Any = None

    @property
    def lost(self) -> bool:
        """It names an error, whatever its status says."""
        return self.error_code not in ("", "0") and bool(self.error_message.strip())

    @property
    def covers(self) -> tuple[str, ...]:
        """The songs' own covers first, then the sources of these."""
        songs = [song for song in self._songs() if isinstance(song, dict)]
        keys = (("imageUrl", "image_url"), ("sourceImageUrl", "source_image_url"))
        return _usable(song.get(key) for casings in keys for song in songs for key in casings)

    def _songs(self) -> list[Any]:
        response = _mapping(self.response)
        lists = (response.get("sunoData"), response.get("suno_data"), response.get("data"), self.data)
        return next((songs for songs in map(unpacked, lists) if isinstance(songs, list)), [])


# -- values --------------------------------------------------------------------------------------------------------


def task_id(data: object) -> str | None:
    """Ids are opaque text; one that is not a short printable word cannot be asked for later and is none."""
    found = _mapping(data)
    text = _text(found.get("taskId")) or _text(found.get("task_id"))
    return text if 0 < len(text) <= _MAX_ID and text.isprintable() and " " not in text else None


def http_date(text: str | None) -> datetime | None:
    """A header's, in any form that HTTP has had."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def balance(data: object) -> float | None:
    """The credits: a bare number."""
    if isinstance(data, bool) or not isinstance(data, int | float):
        return None
    try:
        return float(data) if math.isfinite(data) else None
    except OverflowError:
        return None


def result_urls(value: object) -> tuple[str, ...]:
    """The pictures in a result, in whatever form it comes: text, object, list, or one inside the other."""
    return _usable(_urls_in(value, _RESULT_KEYS, _MAX_NESTING, named=True))


def urls_at_once(value: object) -> tuple[str, ...]:
    """The same in an answer to a creation, where a plain `url` may lead anywhere, unless it is part of a result."""
    return _usable(_urls_in(value, _AT_ONCE_KEYS, _MAX_NESTING, named=True))


def _urls_in(value: object, keys: Set[str], nesting: int, *, named: bool) -> Iterator[object]:
    value = unpacked(value)
    if isinstance(value, str) and named:
        yield value
    elif isinstance(value, list) and nesting:
        for each in value:
            yield from _urls_in(each, keys, nesting - 1, named=named)
    elif isinstance(value, dict) and nesting:
        for key, each in value.items():
            is_result = key in keys
            yield from _urls_in(each, _RESULT_KEYS if is_result else keys, nesting - 1, named=is_result)


def _usable(found: Iterable[object]) -> tuple[str, ...]:
    urls = (_web(text) for text in found if isinstance(text, str))
    return tuple(dict.fromkeys(url for url in urls if url is not None and len(url) <= _MAX_URL))[:MAX_URLS]


def _web(text: str) -> str | None:
    """The URL in a text, as it can be asked for, however carelessly it is written."""
    text = text.strip()
    match = _WEB.fullmatch(text) if text.isprintable() else None
    return match[1].lower() + match[2].replace(" ", "%20") if match else None
