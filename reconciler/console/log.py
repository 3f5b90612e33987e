"""Logs on stderr: one line per event, as text or as JSON. Tracebacks never show values.

Under systemd the journal knows the time itself, and each line begins with its priority, as sd-daemon(3) says.

Names of events: library, a warning of a library; nothing_is_stored, a warning of the command line; all others are told
by eventlog and servicelog.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC
from typing import Any, Literal

from loguru import logger

from reconciler.domain.texts import plain

Format = Literal["auto", "text", "json"]

_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6, "DEBUG": 7, "TRACE": 7}


def set_up(level: str, form: Format, count: Callable[[str], None] = lambda _: None) -> None:
    """Replace whatever logged before. `auto`: text on a terminal and in the journal, else JSON.

    `count` is told the level of each message that is shown.
    """
    journal = in_journal()
    as_json = form == "json" or (form == "auto" and not journal and not sys.stderr.isatty())
    line = _json if as_json else _text
    logger.remove()

    def write(message: Any) -> None:
        told, name = line(message.record, timed=not journal), message.record["level"].name
        _write(_prioritised(told, name) if journal else told)
        count(name)

    # stderr is looked up each time: live progress puts itself in its place.
    logger.add(write, level=level, format="", diagnose=False, backtrace=False)
    logging.basicConfig(handlers=[_Onward()], level=logging.WARNING, force=True)


def in_journal() -> bool:
    """stderr is the journal's: JOURNAL_STREAM names its device and inode, as systemd.exec(5) says."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _prioritised(told: str, level: str) -> str:
    prefix = f"<{_PRIORITIES.get(level, 6)}>"
    return "\n".join(prefix + line for line in told.split("\n"))


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _text(record: Any, *, timed: bool) -> str:
    at = f"{record['time'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} " if timed else ""
    fields = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
    return f"{at}{record['level'].name:<7} {plain(record['message'], 1000)}{fields}{_trace(record)}"


def _json(record: Any, *, timed: bool) -> str:
    at = record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document = {
        **({"time": at} if timed else {}),
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
    if error is None:
        return ""
    lines = "".join(traceback.format_exception(*error)).rstrip().splitlines()
    return "".join(f"\n{plain(line, 1000)}" for line in lines)


class _Onward(logging.Handler):
    """Warnings of libraries, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "WARNING" if record.levelno < logging.ERROR else "ERROR"
        logger.bind(library=record.name, detail=plain(record.getMessage(), 200)).log(level, "library")
