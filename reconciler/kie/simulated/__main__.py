"""`python -m reconciler.kie.simulated`: a Kie on loopback to try a configuration against."""

import argparse
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.kie.simulated.core import SimulatedKie
from reconciler.kie.simulated.desk import rules_from_json
from reconciler.kie.simulated.server import KieServer
from reconciler.kie.simulated.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Prints the base URL and serves until SIGINT or SIGTERM."""
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # inherited by the server's threads, so that sigwait gets them
    given = _parser().parse_args(arguments)
    settings = Settings(
        api_keys=tuple(given.key) or None,
        credits=given.credits,
        min_run=timedelta(seconds=given.min_run),
        max_run=timedelta(seconds=given.max_run),
        webhook_key=given.webhook_key,
    )
    kie = SimulatedKie(lambda: datetime.now(UTC), seed=given.seed, settings=settings)
    if given.rules is not None:
        kie.script.add(*rules_from_json(json.loads(given.rules.read_text(encoding="utf-8"))))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reconciler.kie.simulated", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", action="append", default=[], help="an API key that is accepted (default: any)")
    parser.add_argument("--credits", type=float, default=1000.0)
    parser.add_argument("--min-run", type=float, default=3.0, metavar="SECONDS", help="shortest run of a task")
    parser.add_argument("--max-run", type=float, default=8.0, metavar="SECONDS", help="longest run of a task")
    parser.add_argument("--webhook-key", default="", metavar="KEY", help="callbacks are signed with it")
    parser.add_argument(
        "--rules", type=Path, metavar="FILE", help="JSON: a list of rules, as POST /_simulated/rules takes"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
