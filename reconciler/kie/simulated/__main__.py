"""`python -m reconciler.kie.simulated`: a Kie on loopback to try a configuration against."""

import argparse
import json
import math
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.kie.simulated.core import SimulatedKie
from reconciler.kie.simulated.desk import rules_from_json
from reconciler.kie.simulated.rules import Rule
from reconciler.kie.simulated.server import KieServer
from reconciler.kie.simulated.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Prints the base URL and serves until SIGINT or SIGTERM."""
    given = _parsed(arguments)
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # inherited by the server's threads, so that sigwait gets them
    settings = Settings(
        api_keys=tuple(given.key) or None,
        credits=given.credits,
        min_run=given.min_run,
        max_run=given.max_run,
        webhook_key=given.webhook_key,
    )
    kie = SimulatedKie(lambda: datetime.now(UTC), seed=given.seed, settings=settings)
    kie.script.add(*given.rules)
    try:
        listening = KieServer(kie, port=given.port)
    except OSError as error:
        sys.stderr.write(f"127.0.0.1:{given.port}: {error.strerror}\n")
        return 1
    with listening as server:
        sys.stdout.write(server.base_url + "\n")
        sys.stdout.flush()
        signal.sigwait(stop)
    return 0


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reconciler.kie.simulated", description=__doc__)
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", action="append", default=[], help="an API key that is accepted (default: any)")
    parser.add_argument("--credits", type=_credits, default=1000.0)
    parser.add_argument("--min-run", type=_run, default="3", metavar="SECONDS", help="shortest run of a task")
    parser.add_argument("--max-run", type=_run, default="8", metavar="SECONDS", help="longest run of a task")
    parser.add_argument("--webhook-key", default="", metavar="KEY", help="callbacks are signed with it")
    parser.add_argument(
        "--rules",
        type=_rules,
        default=[],
        metavar="FILE",
        help="JSON: a list of rules, as POST /_simulated/rules takes",
    )
    given = parser.parse_args(arguments)
    if given.min_run > given.max_run:
        parser.error("--min-run is more than --max-run")
    return given


def _port(text: str) -> int:
    with suppress(ValueError):
        if 0 <= (port := int(text)) <= 65535:
            return port
    raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")


def _credits(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")


def _run(text: str) -> timedelta:
    with suppress(ValueError, OverflowError):
        if (run := timedelta(seconds=float(text))) >= timedelta(0):
            return run
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 on")


def _rules(path: str) -> list[Rule]:
    try:
        return rules_from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
