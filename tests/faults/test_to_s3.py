"""Between us and an S3 server: what was bought is kept in mind until it can be stored."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.findings import Fault as Failed
from reconciler.domain.states import Reason, State
from reconciler.images.s3_asking import StoreAsked, unheard
from reconciler.images.s3_errors import Operation, Outcome
from reconciler.images.s3_store import S3Store
from reconciler.ports import StoreError
from tests import s3
from tests.faults.wired import ALL_OK, SILENT, TRACKS, Wired, cases, wired
from tests.proxy import Fault, Proxy

IN_BODY = 400
LONG, SOON = timedelta(seconds=20), timedelta(milliseconds=800)
BROKEN = ("the connection broke", "it cannot be reached")
SAID = {
    Fault.REFUSE: ("nothing listens there",),
    Fault.RESET: BROKEN,
    Fault.RESET_WITHIN: BROKEN,
    Fault.CUT: BROKEN,
    Fault.BLACKHOLE: ("no answer in time",),
    Fault.DRIP: ("no answer in time",),
}


@pytest.fixture
def network() -> Iterator[Proxy]:
    with Proxy(Proxy.host, int(s3.server().endpoint.rpartition(":")[2])) as made:
        yield made


@pytest.fixture
def bucket() -> str:
    return s3.server().empty_bucket()


@pytest.fixture
def world(tmp_path: Path, bucket: str) -> Iterator[Wired]:
    with wired(tmp_path, public_url=s3.server().public_url(bucket)) as made:
        yield made


def store(network: Proxy, bucket: str, call: timedelta = LONG, heard: StoreAsked = unheard) -> S3Store:
    access = replace(s3.server().access(bucket, call), endpoint=f"http://{network.host}:{network.port}")
    return S3Store(access, heard, sleep=lambda _: None)


@cases(0, IN_BODY)
def test_a_picture_that_cannot_be_stored_now_is_not_bought_again(
    world: Wired, network: Proxy, bucket: str, fault: Fault, after: int
) -> None:
    """From when the first picture is about to be sent, it not being there; then from the beginning of a run."""

    def heard(_: Operation, outcome: Outcome) -> None:
        if outcome is Outcome.NOT_FOUND:
            network.befall(fault, after=after)

    store(network, bucket).adopt(None)
    world.store = store(network, bucket, SOON if fault in SILENT else LONG, heard)
    result = world.run(timedelta(seconds=25))
    if fault in SAID:
        failed = [answer for answer in world.answers() if isinstance(answer, Failed)]
        assert {answer.reason for answer in failed} == {Reason.STORAGE_FAILED}
        assert [answer.detail for answer in failed if not answer.detail.startswith("read the")]
        assert [answer.detail for answer in failed if not any(said in answer.detail for said in SAID[fault])] == []
        assert result.states == {(State.FETCHING, Reason.STORAGE_FAILED): len(TRACKS)}
        with pytest.raises(StoreError, match="|".join(SAID[fault])):
            world.run()
    else:
        assert result.states == ALL_OK
    network.heal()
    world.store = store(network, bucket)
    assert world.recovered().purchases == 0
    assert len(world.kie.book.creations) == len(TRACKS)
