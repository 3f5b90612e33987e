"""What an audit's look at a picture costs: probes per second of CPU and bytes per probe, 2048x1152 JPEGs on a server of
their own, over loopback and without TLS.

    python benchmarks/audit.py [--probes N] [--runs N] [--json FILE]

The yardstick, measured in turn with it, is httpx asking for the same ranges of the same files. Each run is a process of
its own; all have the two threads that an audit has. The audit's pace, five requests a second to a host, is left out:
what a probe costs is asked, not how long it waits. `whole audit` is the walk over rows that were never measured, with
all that is read, decided and written for each on SQLite. Prints medians. Judges nothing.
"""

import argparse
import re
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from benchmarks.figures import Figures
from benchmarks.latency import RealClock
from reconciler.app.jobs import AUDITORS
from reconciler.domain.findings import Sized
from reconciler.domain.policy import Policy
from reconciler.domain.states import State
from reconciler.engine.crew import Threads
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.kie.simulated.painter import paint
from reconciler.testing.world import PUBLIC_URL, World

FILES = 16
SIZE = (2048, 1152)
HOST = "127.0.0.1"
POLICY = Policy(public_url=PUBLIC_URL, insecure_hosts=(HOST,))
SPAWN = get_context("spawn")

Job = Callable[[Sequence[str]], object]
Work = Callable[[Path, Sequence[str]], Job]
"""Makes ready, and returns what is to be measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--probes", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("audit", probes=given.probes)
    with served() as (url, sent):
        pictures = [f"{url}/{number}.jpg" for number in range(given.probes)]
        for _ in range(given.runs):
            yardstick = alone(bare, pictures)
            sent()
            for name, work in (("probing", probing), ("whole audit", auditing)):
                rate = alone(work, pictures)
                asked = sent()
                share = {"share of bare": rate / yardstick}
                told = {"requests per probe": len(asked) / given.probes, "KiB per probe": median(asked) / 1024}
                figures.add(name, {"probes per CPU second": rate, **share, **told})
            figures.add("bare", {"probes per CPU second": yardstick})
    figures.tell(given.json)


# -- the server --------------------------------------------------------------------------------------------------------


@contextmanager
def served() -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """Where, and what was sent since that was last asked: a number of bytes for each request."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(there,), daemon=True)
    process.start()

    def sent() -> list[int]:
        here.send(None)
        found: list[int] = here.recv()
        return found

    yield f"http://{HOST}:{here.recv()}", sent
    process.terminate()
    process.join()


def serve(told: Any) -> None:
    files = [paint(f"picture {number}", *SIZE) for number in range(FILES)]
    sent = list[int]()

    class Ranges(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            whole = files[int(self.path[1:-4]) % FILES]
            asked = re.fullmatch(r"bytes=0-(\d+)", self.headers["range"])
            part = whole[: int(asked[1]) + 1] if asked else whole
            sent.append(len(part))
            self.send_response(206)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Range", f"bytes 0-{len(part) - 1}/{len(whole)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Ranges)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever)
        told.send(server.server_port)
        while True:
            told.recv()
            found, sent[:] = list(sent), []
            told.send(found)


# -- the clients -------------------------------------------------------------------------------------------------------


def alone(work: Work, pictures: Sequence[str]) -> float:
    """Probes per second of CPU, of a process of its own."""
    told = SPAWN.Queue()
    process = SPAWN.Process(target=measured, args=(told, work, pictures))
    process.start()
    used: float = told.get()
    process.join()
    return len(pictures) / used


def measured(told: Any, work: Work, pictures: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = work(Path(folder), pictures)
        before = cpu()
        job(pictures)
        told.put(cpu() - before)


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare(_folder: Path, _pictures: Sequence[str]) -> Job:
    client = httpx.Client()
    return partial(each, lambda url: client.get(url, headers={"Range": "bytes=0-65535"}).content)


def probing(_folder: Path, _pictures: Sequence[str]) -> Job:
    pictures = WebPictures(POLICY, vetted_transport(POLICY, lambda: datetime.now(UTC)))

    def probe(url: str) -> None:
        assert pictures.measure(url) == Sized(*SIZE)

    return partial(each, probe)


def each(probe: Callable[[str], object], pictures: Sequence[str]) -> None:
    with ThreadPoolExecutor(AUDITORS) as pool:
        for _ in pool.map(probe, pictures):
            pass


def auditing(folder: Path, pictures: Sequence[str]) -> Job:
    world = World(folder, policy=POLICY)
    world.clock, world.crew = RealClock(), lambda: Threads(AUDITORS)
    for number, url in enumerate(pictures):
        world.add(f"t{number:06}", image_url=url)
    web = WebPictures(POLICY, vetted_transport(POLICY, world.clock))
    parts = world.parts(world.open(), lambda name, port: web if name == "pictures" else port)
    world.store.adopt(None)

    def audit(pictures: Sequence[str]) -> None:
        result = Sweep(parts, Bounds(world.clock.steady() + timedelta(hours=1), due=False), lambda _: None).run()
        assert result.states[State.OK, None] == len(pictures), result.states

    return audit


if __name__ == "__main__":
    main()
