"""Logs on stderr: one line per event, as text or as JSON. Tracebacks never show values."""

import json
import logging
import os
import sys
import traceback
from datetime import UTC
from typing import Any, Literal

from loguru import logger

from reconciler.console.text import plain

Format = Literal["auto", "text", "json"]


def set_up(level: str, form: Format) -> None:
    """Replace whatever logged before. `auto`: text on a terminal, else JSON."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    line = _json if as_json else _text
    logger.remove()
    # stderr is looked up each time: live progress puts itself in its place.
    logger.add(lambda message: _write(line(message.record)), level=level, format="", diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_Onward()], level=logging.WARNING, force=True)


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _text(record: Any) -> str:
    at = "" if os.environ.get("JOURNAL_STREAM") else f"{record['time'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} "
    fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
    return f"{at}{record['level'].name:<7} {plain(record['message'], 1000)}{fields}{_trace(record)}"


def _json(record: Any) -> str:
    document = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record["level"].name.lower(),
        "event": plain(record["message"], 1000),
        **_fields(record),
    }
    trace = _trace(record)
    return json.dumps(document | ({"traceback": trace.strip()} if trace else {}), default=str)


def _fields(record: Any) -> dict[str, Any]:
    return {name: value for name, value in record["extra"].items() if value is not None}


def _quoted(value: object) -> str:
    text = plain(value)
    return text if text and not any(letter in text for letter in ' "=') else json.dumps(text, ensure_ascii=False)


def _trace(record: Any) -> str:
    error = record["exception"]
    return "" if error is None else "\n" + "".join(traceback.format_exception(*error)).rstrip()


class _Onward(logging.Handler):
    """Warnings of libraries, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "WARNING" if record.levelno < logging.ERROR else "ERROR"
        logger.bind(library=record.name, detail=plain(record.getMessage(), 200)).log(level, "library")
