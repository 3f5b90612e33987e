"""The whole job on an empty machine, in half a minute: every kind of trouble, the simulated Kie, before and after."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from reconciler.app.clock import utc_now
from reconciler.app.counted import each, metrics_of
from reconciler.app.inside import opened
from reconciler.app.once import Narrowed, run_once
from reconciler.config import load, policy_of
from reconciler.console import output
from reconciler.console.progress import progress
from reconciler.console.stopping import Stopping, stopping
from reconciler.demo import report
from reconciler.demo.cast import cast
from reconciler.demo.folder import DEFAULT, Folder
from reconciler.demo.gallery import contact_sheet
from reconciler.demo.referee import Evidence, Outcome, outcomes
from reconciler.demo.stage import Stage, create_database, fill_store, hand_over, read_rows
from reconciler.demo.views import viewer
from reconciler.demo.watch import Watch
from reconciler.domain.runs import Runs
from reconciler.domain.texts import plain
from reconciler.engine.lately import Lately
from reconciler.engine.sweep import Sweep
from reconciler.kie.simulated import Expired, KieServer, SimulatedKie, TwoK
from reconciler.kie.simulated import Settings as KieSettings

DONE, NOT_AS_TOLD, USAGE = 0, 1, 2
QUICK = Runs((timedelta(seconds=1), timedelta(seconds=3)) * 40, learned=80)
"""How long a task runs here; those that the app began ran longer."""
PATIENCE, PER_PLAIN_TRACK = timedelta(seconds=50), timedelta(seconds=1)
NARROWEST = 160
"""Columns that the table needs where no terminal says how many there are."""


def run(tracks: int | None, directory: Path | None, console: Console | None = None) -> int:
    """Exit code 0 when every track ended as its story says. `tracks`: so many plain ones are added."""
    folder = Folder(directory or DEFAULT)
    obstacle = folder.take()
    if obstacle is not None:
        sys.stderr.write(f"reconciler: {plain(obstacle, 2000)}\n")
        return USAGE
    kie = SimulatedKie(utc_now, settings=_account(tracks or 0))
    with KieServer(kie) as server, stopping() as stop:
        return _Demo(folder, kie, server.base_url, tracks or 0).run(console or output.out(), stop)


def _account(tracks: int) -> KieSettings:
    return KieSettings(
        credits=1000 + 10 * tracks,
        min_run=min(QUICK.lengths),
        max_run=max(QUICK.lengths),
        two_k=TwoK.KIE,
        expired=Expired.XML_403,
    )


class _Demo:
    def __init__(self, folder: Folder, kie: SimulatedKie, base_url: str, more: int) -> None:
        stage = Stage(kie, utc_now())
        self.folder, self.kie, self.base_url = folder, kie, base_url
        self.chapters, self.patience = cast(stage, more), PATIENCE + more * PER_PLAIN_TRACK
        self.stories = [story for chapter in self.chapters for story in chapter.stories]
        folder.write_config(base_url, budget=100 + 2 * len(self.stories))
        create_database(folder.database, self.stories, stage.now)
        fill_store(folder.images, self.stories)
        self.settings = load(folder.config, {})

    def run(self, console: Console, stop: Stopping) -> int:
        if not console.is_terminal:
            console.width = max(console.width, NARROWEST)
        console.print(f"{len(self.stories)} tracks in {self.folder.root}, a simulated Kie at {self.base_url}")
        with opened(self.settings):
            hand_over(self.folder.database, self.stories)  # into our table, which is there now
        before, begun = read_rows(self.folder.database), time.monotonic()
        watch = self._reconcile(stop)
        seconds = time.monotonic() - begun
        if stop.asked:
            console.print(f"Stopped: what came of the stories until then is in {self.folder.root}.", soft_wrap=True)
            return NOT_AS_TOLD
        view = viewer(self.kie, self.folder.images, policy_of(self.settings))
        evidence = Evidence(before, read_rows(self.folder.database), watch.how, watch.moved_at, self.kie.book, view)
        ended = outcomes(self.stories, self.settings, evidence)
        return self._tell(console, ended, seconds)

    def _reconcile(self, stop: Stopping) -> Watch:
        """What `run --once` does, until every story has ended."""
        watch = Watch(self.stories, utc_now)

        def started(sweep: Sweep) -> None:
            watch.stop = sweep.stop
            stop.on_stop(sweep.stop, show.stopping)

        with progress(output.err()) as show:
            told, metrics = each(watch, show), metrics_of(self.settings)
            run_once(self.settings, Narrowed(self.patience), metrics, told, started, Lately(runs=QUICK))
        return watch

    def _tell(self, console: Console, ended: Sequence[Outcome], seconds: float) -> int:
        by_id = {outcome.story.id: outcome for outcome in ended}
        told = [(chapter.name, [by_id[story.id] for story in chapter.stories]) for chapter in self.chapters]
        book, line = self.kie.book, report.sums(ended, self.kie.book, seconds)
        self.folder.sheet.write_bytes(contact_sheet(told, line))
        console.print(report.before_and_after(told), line, "", sep="\n")
        wrong = list(report.differences(ended, book.errors))
        console.print(*wrong, report.commands(self.folder, ended, self.base_url), sep="\n", soft_wrap=True)
        return NOT_AS_TOLD if wrong else DONE
