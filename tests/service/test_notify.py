"""What systemd is told, over real sockets, and that its absence harms nobody."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest

from reconciler.service import notify
from reconciler.service.notify import Notifier, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # a path of a socket has at most 107 bytes
    return "./notify" if request.param == "path" else f"@{token_hex(16)}"


@pytest.fixture
def systemd(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(name.replace("@", "\0"))
        link.setblocking(False)
        yield link


SAID: list[tuple[Callable[[Notifier], None], bytes]] = [
    (lambda it: it.ready("serving"), b"READY=1\nSTATUS=serving"),
    (lambda it: it.stopping(), b"STOPPING=1"),
    (lambda it: it.alive(), b"WATCHDOG=1"),
    (lambda it: it.status("12 tracks"), b"STATUS=12 tracks"),
]


@pytest.mark.parametrize(("say", "heard"), SAID)
def test_each_is_one_datagram(say: Callable[[Notifier], None], heard: bytes, name: str, systemd: socket.socket) -> None:
    say(Notifier({"NOTIFY_SOCKET": name}))
    assert systemd.recv(9999) == heard
    with pytest.raises(BlockingIOError):
        systemd.recv(9999)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nWATCHDOG=1", b"two WATCHDOG=1"),
        (" a\r\n\x00\x1b b\u2028c ", b"a b c"),
        ("Grüße", "Grüße".encode()),
        ("half \ud800", b"half"),
        ("long " * 999, b"long " * 100),
    ],
)
def test_a_status_is_one_line_that_systemd_takes(text: str, line: bytes, name: str, systemd: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": name}).status(text)
    assert systemd.recv(9999) == b"STATUS=" + line


@pytest.mark.parametrize("say", [say for say, _ in SAID])
@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_systemd_nothing_is_sent(
    say: Callable[[Notifier], None], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "socket")
    say(Notifier(environ))


def test_the_environment_is_that_of_the_process(
    name: str, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    Notifier().alive()
    assert systemd.recv(9999) == b"WATCHDOG=1"


@pytest.mark.parametrize("say", [say for say, _ in SAID])
def test_a_socket_that_is_gone_harms_nobody(say: Callable[[Notifier], None], name: str, systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    systemd.close()
    say(notifier)


@pytest.mark.parametrize("address", ["/no/such/place", "relative", "vsock:2:1", "/" + "x" * 200, "@" + "x" * 200])
def test_an_address_that_is_none_harms_nobody(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).alive()


def test_a_systemd_that_starts_anew_is_told_again(name: str, systemd: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.alive()
    systemd.close()
    Path(name).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as later:
        later.bind(name.replace("@", "\0"))
        later.setblocking(False)
        notifier.alive()
        assert later.recv(9999) == b"WATCHDOG=1"


def test_a_systemd_that_does_not_read_is_not_waited_for(
    name: str, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_PATIENCE_S", 0.001)
    notifier = Notifier({"NOTIFY_SOCKET": name})
    limit = Path("/proc/sys/net/unix/max_dgram_qlen")
    for _ in range(int(limit.read_text()) + 5 if limit.exists() else 600):
        notifier.alive()
    assert systemd.recv(9999) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "17"}, timedelta(seconds=30)),
        ({"WATCHDOG_USEC": "1500000"}, timedelta(seconds=1.5)),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "18"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_PID": "17"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "30s"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "9" * 40}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval(environ: dict[str, str], expected: timedelta | None) -> None:
    assert watchdog_interval(environ, 17) == expected
