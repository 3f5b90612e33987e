"""Between us and file hosts: a picture that cannot be fetched now is not one that is gone."""

from datetime import timedelta

from reconciler.domain.findings import Fault as Failed
from reconciler.domain.states import Reason, State
from tests.faults.wired import HEIGHT, SILENT, SOON, TRACKS, WIDTH, Wired, cases
from tests.proxy import Fault

IN_HEAD, IN_BODY = 100, 500
SAID = {
    Fault.REFUSE: "Connection refused",
    Fault.RESET: "Connection reset",
    Fault.RESET_WITHIN: "Connection reset",
    Fault.CUT: "without sending",
    Fault.BLACKHOLE: "timed out",
    Fault.DRIP: "timed out",
}
STUCK = {
    (State.FETCHING, Reason.DOWNLOAD_FAILED): len(TRACKS),
    (State.BACKING_OFF, Reason.DOWNLOAD_FAILED): 1,
}


@cases(IN_HEAD, IN_BODY)
def test_a_picture_that_cannot_be_fetched_now_is_not_gone(world: Wired, fault: Fault, after: int) -> None:
    """Three that were bought, and one that was in its row before and is to be measured."""
    world.run(timedelta(seconds=1))
    world.add("there", image_url=world.kie.add_file("/covers/there.jpg", size=(WIDTH, HEIGHT)))
    there = world.row("there")
    if fault in SILENT:
        world.with_policy(request_timeout=SOON)
    world.files_network.befall(fault, after=after)
    result = world.run(timedelta(seconds=40))
    world.files_network.heal()
    failed = [answer for answer in world.answers() if isinstance(answer, Failed)]
    if fault in SAID:
        assert {answer.reason for answer in failed} == {Reason.DOWNLOAD_FAILED}
        assert [answer.detail for answer in failed if SAID[fault] not in answer.detail] == []
        assert result.states == STUCK
    else:
        assert not failed
        assert {state for state, _ in result.states} == {State.OK}
    assert world.recovered().purchases == 0
    assert len(world.kie.book.creations) == len(TRACKS)
    assert (world.row("there")["image_url"], world.row("there")["resolution"]) == (there["image_url"], "160x90")
