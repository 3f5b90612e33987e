"""What a helped track costs in calls, and how late its picture comes, at the times that Kie really takes: on a virtual
clock, with tasks of 12 to 128 s, and with half of them quick and half of them slow; with callbacks, with all of them
lost, and where three answers to orders of ten are lost, without callbacks and with them.

    python benchmarks/calls.py [--tracks N] [--json FILE]

The least that is possible is one order, one question and one download. Prints medians. Judges nothing.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import LOST, UNTOLD, Operation, Rule, Settings, Succeed
from reconciler.kie.simulated.wire import Request, Response
from reconciler.testing.world import PUBLIC_URL, World

SIZE = (160, 90)
CALLED = "https://ops.example"
SECOND = timedelta(seconds=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=300)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("calls", tracks=given.tracks)
    even, uneven = ([lengths(random.Random(n)) for n in range(given.tracks)] for lengths in (uniform, bimodal))
    lost = Rule(behaviour=LOST, operation=Operation.CREATE, chance=0.3)
    observe(figures, "uniform", even)
    observe(figures, "bimodal", uneven)
    observe(figures, "uniform, with callbacks", even, CALLED)
    observe(figures, "bimodal, with callbacks", uneven, CALLED)
    observe(figures, "uniform, all callbacks lost", even, CALLED, Rule(behaviour=UNTOLD))
    observe(figures, "answers lost", even, "", lost)
    observe(figures, "answers lost, with callbacks", even, CALLED, lost)
    figures.tell(given.json)


def uniform(dice: random.Random) -> float:
    return dice.uniform(12, 128)


def bimodal(dice: random.Random) -> float:
    return max(2.0, dice.gauss(18, 3) if dice.random() < 0.5 else dice.gauss(110, 10))


def observe(figures: Figures, name: str, lengths: list[float], callback_url: str = "", *rules: Rule) -> None:
    """Every track's figures are added."""
    with tempfile.TemporaryDirectory() as folder:
        policy = Policy(public_url=PUBLIC_URL, per_hour=10**6, per_day=10**6, target=Target(*SIZE))
        policy = replace(policy, callback_url=callback_url)
        world = World(Path(folder), policy=policy, kie=Settings(credits=1e9))
        for number, length in enumerate(lengths):
            world.add(f"t{number:05}")
            run = Succeed(width=SIZE[0], height=SIZE[1], run=length * SECOND)
            world.kie.script.when(run, prompt_contains=f"t{number:05} ")
        world.kie.script.add(*rules)
        asked = counted(world)
        world.run(timedelta(days=2))
        written = {row["extended_prompt_image"]: row for row in world.rows()}
        assert None not in {row["image_url"] for row in world.rows()} or not callback_url
        for purchase in world.kie.book.purchases:
            task_id = purchase.task_id or ""
            row, ended = written[purchase.prompt], world.kie.ends_at(task_id)
            assert ended is not None
            late = datetime.fromisoformat(row["updated_at"]).replace(tzinfo=UTC) - ended
            length = lengths[int(row["id"].removeprefix("t"))]
            times = {"delay, s": late / SECOND, "delay, share of the length": late / SECOND / length}
            figures.add(name, {"polls": asked[task_id], **times} if asked[task_id] else {"never found": 1})
        figures.add(name, {"orders per track": len(world.kie.book.purchases) / len(lengths)})
        figures.add(name, {"downloads per track": asked["download"] / len(lengths)})


def counted(world: World) -> Counter[str]:
    """Questions by task, and downloads."""
    asked, answer = Counter[str](), world.kie.handle

    def handle(request: Request) -> Response:
        if "recordInfo" in request.url_path:
            asked[request.query["taskId"]] += 1
        elif "createTask" not in request.url_path and "credit" not in request.url_path:
            asked["download"] += 1
        return answer(request)

    world.kie.handle = handle  # type: ignore[method-assign]
    return asked


if __name__ == "__main__":
    main()
