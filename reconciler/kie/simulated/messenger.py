"""Delivers the core's callbacks for real, one after the other, and only to this machine."""

import http.client
import ipaddress
import socket
import threading
from contextlib import suppress
from typing import Final
from urllib.parse import SplitResult, urlsplit

from reconciler.kie.simulated.callbacks import NOBODY, Callback
from reconciler.kie.simulated.core import SimulatedKie

_PATIENCE_SECONDS: Final = 15.0
_LOOK_INTERVAL_SECONDS: Final = 0.02


class Messenger:
    """Runs between `start` and `stop`."""

    def __init__(self, kie: SimulatedKie) -> None:
        self._kie = kie
        self._stopping = threading.Event()
        self._line: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name="simulated-kie-callbacks")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends a call under way too."""
        self._stopping.set()
        sock = self._line.sock if self._line else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_INTERVAL_SECONDS):
            for callback in self._kie.due_callbacks():
                if self._stopping.is_set():
                    return
                self._kie.answered(callback, self._call(callback))

    def _call(self, callback: Callback) -> int:
        try:
            url = urlsplit(callback.url)
            return self._post(url, callback) if url.scheme == "http" and _is_here(url.hostname) else NOBODY
        except (OSError, ValueError, http.client.HTTPException):
            return NOBODY
        finally:
            self._line = None

    def _post(self, url: SplitResult, callback: Callback) -> int:
        self._line = line = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_PATIENCE_SECONDS)
        try:
            line.connect()
            if self._stopping.is_set():  # `stop` may have looked before there was a socket to shut down
                return NOBODY
            target = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
            line.request("POST", target, callback.body, dict(callback.headers))
            return line.getresponse().status
        finally:
            line.close()


def _is_here(host: str | None) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host or "").is_loopback
    return host == "localhost"
