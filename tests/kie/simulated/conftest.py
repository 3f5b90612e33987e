"""A simulated Kie on a clock by hand, and a small client for it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.kie.simulated import API_KEY, DEFAULT_MODEL, Request, Response, Settings, SimulatedKie

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AGENT = "reconciler/0.1"


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **units: float) -> None:
        self.now += timedelta(**units)


class Client:
    """Calls the core in process."""

    def __init__(self, kie: SimulatedKie, clock: HandClock) -> None:
        self.kie, self.clock, self.key = kie, clock, API_KEY

    def call(self, method: str, path: str, body: object = None, **query: str) -> Response:
        headers = {"authorization": f"Bearer {self.key}", "user-agent": AGENT}
        return self.kie.handle(Request(method, path, query, headers, json.dumps(body).encode()))

    def post(self, prompt: str = "Mist", *, model: str = DEFAULT_MODEL, **input_: object) -> Response:
        given = {"image_size": "landscape_16_9", "image_resolution": "2K", "max_images": 1} | input_
        body = {"model": model, "input": {"prompt": prompt, **given}}
        return self.call("POST", "/api/v1/jobs/createTask", body)

    def create(self, prompt: str = "Mist", **input_: Any) -> str:
        """The id of a task that was made."""
        return str(self.json(self.post(prompt, **input_))["data"]["taskId"])

    def code(self, response: Response) -> int:
        return int(self.json(response)["code"])

    def record(self, task_id: str) -> dict[str, Any]:
        """`data` of the task's record."""
        data = self.json(self.call("GET", "/api/v1/jobs/recordInfo", taskId=task_id))["data"]
        assert isinstance(data, dict)
        return data

    def song(self, task_id: str) -> Any:
        return self.json(self.call("GET", "/api/v1/generate/record-info", taskId=task_id))

    def credit(self) -> float:
        return float(self.json(self.call("GET", "/api/v1/chat/credit"))["data"])

    def urls(self, task_id: str) -> list[str]:
        urls = json.loads(self.record(task_id)["resultJson"])["resultUrls"]
        assert isinstance(urls, list)
        return urls

    def file(self, url: str, **headers: str) -> Response:
        """What lies at the URL, asked without a key."""
        host, _, path = url.removeprefix("https://").partition("/")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.kie.handle(Request("GET", "/" + path, {}, {"user-agent": AGENT} | named, b"", host))

    @staticmethod
    def json(response: Response) -> dict[str, Any]:
        parsed = json.loads(response.body)
        assert isinstance(parsed, dict)
        return parsed


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_kie(clock: HandClock) -> Callable[..., Client]:
    """A client of a fresh Kie with these settings."""

    def open_(seed: int = 0, **settings: Any) -> Client:
        return Client(SimulatedKie(clock, seed=seed, settings=Settings(**settings)), clock)

    return open_


@pytest.fixture
def client(open_kie: Callable[..., Client]) -> Client:
    return open_kie()
