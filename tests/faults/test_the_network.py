"""The network that these tests rest upon does what its faults say."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from tests.proxy import Fault, Proxy

ANSWER = b"0123456789"


class Target(ThreadingTCPServer):
    """Says `ANSWER` to whatever it hears."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self) -> None:
        super().__init__((Proxy.host, 0), Talk)
        self.heard: list[bytes] = []


class Talk(BaseRequestHandler):
    server: Target

    def handle(self) -> None:
        with suppress(ConnectionResetError):
            while said := self.request.recv(100):
                self.server.heard.append(said)
                self.request.sendall(ANSWER)


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as made:
        thread = Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def network(target: Target) -> Iterator[Proxy]:
    with Proxy(Proxy.host, target.server_address[1]) as made:
        yield made


def connected(network: Proxy) -> "closing[socket.socket]":
    return closing(socket.create_connection((network.host, network.port), timeout=30))


def told(connection: socket.socket) -> Iterator[bytes]:
    connection.sendall(b"say")
    while piece := connection.recv(100):
        yield piece


def test_nobody_listens_until_it_heals(network: Proxy) -> None:
    with connected(network) as before:
        assert next(told(before)) == ANSWER
        network.befall(Fault.REFUSE)
        with pytest.raises(ConnectionRefusedError):
            connected(network)
        with pytest.raises(ConnectionResetError):
            before.recv(1)
    network.heal()
    with connected(network) as after:
        assert next(told(after)) == ANSWER


def test_who_asks_is_reset(network: Proxy, target: Target) -> None:
    network.befall(Fault.RESET)
    with connected(network) as connection, pytest.raises(ConnectionResetError):
        next(told(connection))
    assert not target.heard


def test_an_answer_is_cut(network: Proxy) -> None:
    network.befall(Fault.CUT, after=4)
    with connected(network) as connection:
        assert b"".join(told(connection)) == b"0123"


def test_an_answer_that_is_short_enough_is_whole_and_so_is_the_next(network: Proxy) -> None:
    network.befall(Fault.CUT, after=len(ANSWER) + 1)
    with connected(network) as connection:
        for _ in range(2):
            assert next(told(connection)) == ANSWER


def test_a_connection_is_reset_within_an_answer(network: Proxy, target: Target) -> None:
    network.befall(Fault.RESET_WITHIN, after=4)
    with connected(network) as connection, pytest.raises(ConnectionResetError):
        assert b"".join(told(connection)) != ANSWER
    assert target.heard == [b"say"]


def test_what_is_said_is_swallowed(network: Proxy, target: Target) -> None:
    network.befall(Fault.BLACKHOLE)
    with connected(network) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            next(told(connection))
    assert not target.heard


def test_an_answer_drips(network: Proxy) -> None:
    network.befall(Fault.DRIP, every_s=0.01)
    with connected(network) as connection:
        pieces = told(connection)
        assert [next(pieces) for _ in ANSWER] == [bytes([byte]) for byte in ANSWER]


def test_an_answer_comes_twice(network: Proxy, target: Target) -> None:
    network.befall(Fault.ANSWER_TWICE)
    with connected(network) as connection:
        assert next(told(connection)) == 2 * ANSWER
    assert target.heard == [b"say"]


def test_what_is_asked_comes_twice(network: Proxy, target: Target) -> None:
    network.befall(Fault.ASK_TWICE)
    with connected(network) as connection:
        assert next(told(connection)) == ANSWER
    assert target.heard == [b"say", b"say"]
