"""A plain script: one track after another, nothing remembered but what the app's table says."""

import time

from benchmarks.job import fitted
from benchmarks.peers import app


def main() -> None:
    for track_id, prompt in app.stuck().items():
        task_id = app.kie.order(prompt)
        while (url := app.kie.result(task_id)) is None:
            time.sleep(app.POLL_S)
        app.keep(track_id, fitted(app.kie.picture(url)))


if __name__ == "__main__":
    main()
