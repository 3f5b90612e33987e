"""Which answers close the gate for all."""

from datetime import datetime, timedelta

import pytest

from reconciler.domain.closing import UNHEALTHY, closure_for, lengthened
from reconciler.domain.findings import Accepted, AnswerLost, Call, NothingMade, Refusal, Running, Trouble
from reconciler.domain.gate import Closure, GateName
from tests.domain.builders import HOUR, MINUTE, NOW, POLICY, SECOND, SHAPE


@pytest.mark.parametrize(
    ("refusal", "name", "pause"),
    [
        (Refusal.RATE, GateName.RATE_LIMIT, POLICY.purchase_window),
        (Refusal.CREDITS, GateName.CREDITS, 10 * MINUTE),
        (Refusal.KEY_CAP, GateName.CREDITS, HOUR),
        (Refusal.KEY, GateName.KEY, 10 * MINUTE),
    ],
)
def test_what_concerns_the_account_closes_the_gate_for_a_while(
    refusal: Refusal, name: GateName, pause: timedelta
) -> None:
    for finding in (NothingMade(refusal, Call.REJECTED, "why"), Trouble(Call.REJECTED, "why", refusal)):
        closure = closure_for(finding, SHAPE, POLICY, NOW)
        assert closure is not None
        assert (closure.name, closure.until, closure.shape) == (name, NOW + pause, None)
        assert "why" in closure.detail


def test_a_rate_limit_may_say_for_how_long() -> None:
    def closed_for(after_s: float) -> timedelta | None:
        closure = closure_for(Trouble(Call.RATE_LIMITED, "", Refusal.RATE, after_s), None, POLICY, NOW)
        return closure.until - NOW if closure and closure.until else None

    assert closed_for(90) == 90 * SECOND
    assert closed_for(1) == POLICY.purchase_window
    assert closed_for(1e9) == HOUR


def test_a_rate_limit_that_persists_is_left_alone_for_longer_each_time() -> None:
    first = Closure(GateName.RATE_LIMIT, NOW, NOW + 10 * SECOND)

    def again(at: datetime, before: Closure | None = first) -> timedelta:
        longer = lengthened(Closure(GateName.RATE_LIMIT, at, at + 10 * SECOND), before)
        assert longer.until is not None
        return longer.until - at

    assert again(NOW, None) == 10 * SECOND
    assert again(NOW + SECOND) == 10 * SECOND  # of the same burst
    assert again(NOW + 12 * SECOND) == 20 * SECOND
    assert again(NOW + HOUR) == 10 * SECOND
    long = Closure(GateName.RATE_LIMIT, NOW, NOW + 9 * MINUTE)
    assert again(NOW + 10 * MINUTE, long) == 10 * MINUTE
    told = Closure(GateName.RATE_LIMIT, NOW + MINUTE, NOW + HOUR)
    assert lengthened(told, first) == told
    key = Closure(GateName.KEY, NOW, NOW + MINUTE)
    assert lengthened(key, key) == key


def test_a_request_that_kie_calls_wrong_closes_its_model_until_somebody_looks() -> None:
    closure = closure_for(NothingMade(Refusal.REQUEST, Call.REJECTED, "not published"), SHAPE, POLICY, NOW)
    assert closure is not None
    assert (closure.name, closure.until, closure.shape) == (GateName.REQUEST_REJECTED, None, SHAPE)


@pytest.mark.parametrize(
    "finding",
    [
        *[NothingMade(r, Call.REJECTED, "") for r in (Refusal.CONTENT, Refusal.OUTAGE, Refusal.STORE)],
        *[Trouble(Call.REJECTED, "", r) for r in (Refusal.REQUEST, Refusal.OUTAGE)],
        *[Accepted("t"), AnswerLost(Call.TIMEOUT, ""), Running()],
    ],
)
def test_nothing_else_closes_it(finding: NothingMade | Trouble | Accepted | AnswerLost | Running) -> None:
    assert closure_for(finding, SHAPE, POLICY, NOW) is None


def test_refusals_are_answers_not_faults() -> None:
    assert UNHEALTHY.isdisjoint({Call.OK, Call.NOT_FOUND, Call.REJECTED, Call.RATE_LIMITED, Call.NO_CREDITS})
    assert Call.UNAUTHORIZED not in UNHEALTHY
