from dataclasses import replace

import pytest

from reconciler.domain.policy import Fit, Policy, Target
from tests.domain.builders import KEY, SECOND


@pytest.mark.parametrize("seconds", [1, 30, 600])
def test_deadlines_nest(seconds: int) -> None:
    policy = Policy(request_timeout=seconds * SECOND)
    assert policy.send_within < policy.request_timeout < policy.step_deadline < policy.lease


def test_a_key_is_found_again_in_its_url() -> None:
    for url in ("https://pictures.example/X", "https://pictures.example/X/"):
        policy = Policy(public_url=url)
        assert policy.url_of(KEY) == f"https://pictures.example/X/{KEY}"
        assert policy.key_of(policy.url_of(KEY)) == KEY
        for behind in ("?v=2", "#top", "?v=2#top", "?a=b?c"):
            assert policy.key_of(policy.url_of(KEY) + behind) == KEY
        for others in (f"XY/{KEY}", f"X/old/{KEY}", "X/tracks/a/cover.jpg", "X/cover.jpg", "X/"):
            assert policy.key_of(f"https://pictures.example/{others}") is None


@pytest.mark.parametrize(
    ("size", "exact", "keep"),
    [
        ((2048, 1152), True, True),
        ((2560, 1440), False, True),
        ((2049, 1152), False, True),
        ((2047, 1152), False, False),
        ((2048, 1200), False, False),
        ((0, 0), False, False),
    ],
)
def test_what_meets_the_target(size: tuple[int, int], exact: bool, keep: bool) -> None:
    target = Target()
    assert target.met_by(*size) is exact
    assert replace(target, fit=Fit.KEEP).met_by(*size) is keep
    assert target.usable(*size) is keep
    assert target.resolution == "2048x1152"


@pytest.mark.parametrize(
    ("size", "shaped"),
    [((200, 100), True), ((250, 100), True), ((251, 100), False), ((149, 100), False), ((2, 1), True), ((2, 0), False)],
)
def test_a_shape_is_the_targets_within_its_tolerance(size: tuple[int, int], shaped: bool) -> None:
    assert Target(200, 100, aspect_tolerance=0.25).shaped(*size) is shaped
