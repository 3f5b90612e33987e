"""The job as a huey application on SQLite: one task orders a picture, another comes back for it until it is there.

A huey task may start others, and try again later by raising RetryTask. What is in the queue or scheduled survives a
kill; what a worker had taken does not.
"""

import os

from huey import SqliteHuey
from huey.exceptions import RetryTask

from benchmarks.job import fitted
from benchmarks.peers import app

huey = SqliteHuey("repairs", filename=os.environ["HUEY_DATABASE"])


@huey.task(retries=3, retry_delay=1)
def order(track_id: str, prompt: str) -> None:
    collect(track_id, app.kie.order(prompt))


@huey.task(retries=3, retry_delay=1)
def collect(track_id: str, task_id: str) -> None:
    url = app.kie.result(task_id)
    if url is None:
        raise RetryTask(delay=app.POLL_S)
    app.keep(track_id, fitted(app.kie.picture(url)))


def order_what_is_stuck() -> None:
    """But what waits in the queue or is scheduled already."""
    waiting = {task.args[0] for task in (*huey.pending(), *huey.scheduled())}
    for track_id, prompt in app.stuck().items():
        if track_id not in waiting:
            order(track_id, prompt)
