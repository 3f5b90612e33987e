"""No spelling of an address where we may not ask is asked, straight or by way of a redirect or of a name."""

import random
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

from reconciler.domain.findings import Fault, Flawed, Refused, Sized
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason
from reconciler.images.addresses import is_public, vetting
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.transport import Reply, Request, Transport
from tests.hostile.spellings import FORBIDDEN_V4, FORBIDDEN_V6, around, disguised, hosts, tunnelled

START = "https://tempfile.aiquickdraw.com/start"


def now() -> datetime:
    return datetime.now(UTC)


class Net:
    """Names resolve to what is given, numbers as the system reads them; connections are noted, and fail."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self.connected: list[str] = []
        self._real = socket.getaddrinfo

    def resolve(self, host: str, port: int, **options: Any) -> Any:
        self.asked.append(host)
        if host in self.answers:
            found = self.answers[host].pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]
        return self._real(host, port, flags=socket.AI_NUMERICHOST, **options)

    def connect(self, address: tuple[str, int], *_: Any, **__: Any) -> NoReturn:
        self.connected.append(address[0])
        raise ConnectionRefusedError("nobody is there")


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    net = Net()
    monkeypatch.setattr(socket, "getaddrinfo", net.resolve)
    monkeypatch.setattr(socket, "create_connection", net.connect)
    return net


@pytest.fixture
def web() -> Iterator[WebPictures]:
    policy = Policy(insecure_hosts=("sim.example",))
    transport = vetted_transport(policy, now)
    yield WebPictures(policy, transport)
    transport.close()


def refused(answer: object) -> bool:
    return isinstance(answer, Fault) and answer.reason is Reason.HOST_REFUSED


def kept_out(answer: object) -> bool:
    """Or it is no name and no number, so that there is nobody to ask."""
    nobody = ("the URL is not valid", "the name was not resolved")
    return refused(answer) or (isinstance(answer, Fault) and any(words in answer.detail for words in nobody))


def every_url() -> Iterator[str]:
    for host in hosts():
        yield from around(host)
    for host in ("169.254.169.254", "[::1]", "localhost", "2130706433"):
        yield from disguised(host)


def test_no_spelling_is_asked(net: Net, web: WebPictures) -> None:
    tried = 0
    for url in every_url():
        tried += 1
        assert kept_out(web.measure(url)), url
        assert kept_out(web.fetch(url, bound=False)), url
    assert tried > 1000
    assert net.connected == []


class Leading(Transport):
    """What pictures are got through, but that one host redirects to `goal`."""

    goal = ""

    def send(self, request: Request, *, deadline: timedelta, max_bytes: int) -> Reply:
        if request.url == START:
            return Reply(302, {"location": self.goal}, b"", complete=True)
        return super().send(request, deadline=deadline, max_bytes=max_bytes)


def test_no_redirect_leads_there(net: Net) -> None:
    transport = Leading(user_agent="test", vet=vetting(()), clock=now)
    web = WebPictures(Policy(), transport)
    for transport.goal in every_url():
        assert kept_out(web.measure(START)), transport.goal
        assert kept_out(web.fetch(START, bound=True)), transport.goal
    transport.close()
    assert net.connected == []


@pytest.mark.parametrize("address", [*FORBIDDEN_V4, *FORBIDDEN_V6])
def test_no_name_leads_there(net: Net, web: WebPictures, address: str) -> None:
    spellings = [address, *(tunnelled(address) if "." in address else [f"{address}%eth0"])]
    for written in spellings:
        assert not is_public(written), written
        for found in ([written], ["93.184.216.34", written], [written, "93.184.216.34"]):
            net.answers["files.example"] = [found]
            assert refused(web.measure("https://files.example/a.png")), found
    assert net.connected == []


def test_a_name_that_answers_twice_differently_is_vetted_each_time(net: Net, web: WebPictures) -> None:
    net.answers["files.example"] = [["93.184.216.34"], ["169.254.169.254"], ["93.184.216.34"]]
    answers = [web.measure("https://files.example/a.png") for _ in range(3)]
    assert [refused(answer) for answer in answers] == [False, True, False]
    assert net.connected == ["93.184.216.34"] * 2
    assert net.asked == ["files.example"] * 3, "what was vetted was resolved once more"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "169.254.169.254", "10.0.0.1", "0.0.0.0"])
def test_a_host_that_is_trusted_leads_to_loopback_and_nowhere_else(net: Net, web: WebPictures, address: str) -> None:
    net.answers["sim.example"] = [[address]]
    assert refused(web.measure("http://sim.example/a.png")) is not address.startswith(("127.", "::1"))
    assert net.connected == ([address] if address.startswith(("127.", "::1")) else [])


def test_no_proxy_of_the_environment_is_asked(net: Net, web: WebPictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be asked instead of what was vetted, and might ask anything."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, "http://proxy.example:3128")
    policy = Policy(insecure_hosts=("sim.example",))
    late = vetted_transport(policy, now)
    net.answers = {"files.example": [["93.184.216.34"]] * 2, "sim.example": [["127.0.0.1"]]}
    for pictures in (web, WebPictures(policy, late)):
        pictures.measure("https://files.example/a.png")
    WebPictures(policy, late).measure("http://sim.example/a.png")
    late.close()
    assert net.asked == ["files.example", "files.example", "sim.example"]
    assert net.connected == ["93.184.216.34", "93.184.216.34", "127.0.0.1"]


def test_a_name_that_is_translated_in_two_ways_is_no_file_host() -> None:
    """The one that is asked for would be somebody else's."""
    asked: list[str] = []

    def answer(request: Request) -> Reply:
        asked.append(request.url)
        return Reply(404, {}, b"", complete=True)

    transport = Transport(user_agent="test", clock=now, handler=answer)
    web = WebPictures(Policy(file_hosts=("pressfiles.example", "odos.example")), transport)
    for host in (
        "preßfiles.example",
        "odoς.example",
        "ｐressfiles.example",
        "press\u200dfiles.example",
        "preſsfiles.example",
    ):
        assert refused(web.fetch(f"https://{host}/a.png", bound=True)), host
    assert asked == []
    assert web.fetch("https://www.pressfiles.example/grün.png", bound=True) == Refused(
        "www.pressfiles.example answered 404"
    )


def test_no_url_whatever_makes_the_pictures_raise() -> None:
    dice = random.Random(13)
    pieces = [
        *(
            "https://",
            "http://",
            "data:",
            "//",
            "/",
            "\\",
            ":",
            "@",
            "?",
            "#",
            "[",
            "]",
            "%",
            ".",
            "。",
            "::1",
            "127.0.0.1",
        ),
        *(
            "a",
            "ß",
            "é",
            "\u202e",
            "\ud800",
            "\x00",
            "\n",
            " ",
            "xn--",
            "xn--a",
            "0x7f",
            "99999",
            ";base64,",
            ",",
            "*",
            "\u0660",
        ),
        *(
            "tempfile.aiquickdraw.com",
            "localhost",
            "x" * 300,
            "-",
            "_",
            "task_",
            "X-Amz-Expires=9",
            "X-Amz-Date=99999999T999999Z",
        ),
    ]
    answers = iter(int, 1)

    def answer(request: Request) -> Reply:
        location = "".join(dice.choices(pieces, k=4))
        return (
            Reply(302, {"location": location}, b"", complete=True) if next(answers) == 0 else Reply(404, {}, b"", True)
        )

    web = WebPictures(Policy(), Transport(user_agent="test", clock=now, handler=answer))
    for _ in range(3000):
        url = dice.choice(("https://", "data:", "")) + "".join(dice.choices(pieces, k=dice.randrange(1, 9)))
        for said in (web.measure(url), web.fetch(url, bound=dice.random() < 0.5)):
            assert isinstance(said, Fault | Flawed | Refused | Sized | bytes)
            if isinstance(said, Fault | Refused | Flawed):
                assert len(said.detail) <= 300
                assert said.detail.isprintable(), said
