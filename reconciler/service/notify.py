"""What the daemon tells systemd, and what systemd asks of it: sd_notify(3) and sd_watchdog_enabled(3)."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

_LONGEST = 500
"""Characters of a status. systemd drops a whole message over 4096 bytes (NOTIFY_BUFFER_MAX)."""
_PATIENCE_S = 1.0
"""For systemd to take a message while its queue is full."""


class Notifier:
    """Sends to NOTIFY_SOCKET, and does nothing where that is not set. Safe to share between threads.

    A message that cannot be sent is dropped, for work goes on without systemd too.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def ready(self, status: str) -> None:
        self._send("READY=1", _status(status))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        self._send(_status(text))

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A socket for each message: what is not held open cannot go stale when systemd starts anew.
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as link:
            link.settimeout(_PATIENCE_S)
            link.sendto("\n".join(assignments).encode(), self._address)


def watchdog_interval(environ: Mapping[str, str], pid: int) -> timedelta | None:
    """How long systemd waits for `alive` before it kills; None when it does not, or waits for another process."""
    try:
        if int(environ.get("WATCHDOG_PID", pid)) != pid:
            return None
        interval = timedelta(microseconds=int(environ["WATCHDOG_USEC"]))
    except (KeyError, ValueError, OverflowError):
        return None
    return interval if interval > timedelta(0) else None


def _status(text: str) -> str:
    """One line, since a second one would be an assignment of its own."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return "STATUS=" + " ".join(printable.split())[:_LONGEST]
