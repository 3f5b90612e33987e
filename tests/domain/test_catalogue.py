import pytest

from reconciler.domain.catalogue import MODELS, judged_by, offers
from reconciler.domain.policy import Fit, Policy, Target
from tests.domain.builders import POLICY, SHAPE

V4 = "bytedance/seedream-v4-text-to-image"
V45 = "seedream/4.5-text-to-image"
LITE = "seedream/5-lite-text-to-image"
NANO = "nano-banana-2"


def test_the_four_models_that_reach_the_target() -> None:
    assert {name: (model.prompt_limit, model.price) for name, model in MODELS.items()} == {
        V4: (5000, 5),
        V45: (3000, 6.5),
        LITE: (3000, 5.5),
        NANO: (20000, 12),
    }
    assert all(model.reaches(Target()) for model in MODELS.values())


def test_the_default_policy_names_known_models() -> None:
    assert {Policy().model, *Policy().fallback_models} <= MODELS.keys()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (V4, {"image_size": "landscape_16_9", "image_resolution": "2K", "max_images": 1}),
        (V45, {"aspect_ratio": "16:9", "quality": "basic"}),
        (LITE, {"aspect_ratio": "16:9", "quality": "basic"}),
        (NANO, {"aspect_ratio": "16:9", "resolution": "2K"}),
    ],
)
def test_the_request_names_every_field_exactly(name: str, settings: dict[str, object]) -> None:
    assert MODELS[name].request("a lake", Target()) == {"prompt": "a lake", **settings}


@pytest.mark.parametrize(
    ("name", "field", "width", "height", "setting"),
    [
        (V4, "image_resolution", 1024, 576, "2K"),
        (V4, "image_resolution", 2049, 1152, "4K"),
        (V4, "image_resolution", 2048, 1153, "4K"),
        (V45, "quality", 2560, 1440, "basic"),
        (LITE, "quality", 3840, 2160, "high"),
        (NANO, "resolution", 3840, 2160, "2K"),
    ],
)
def test_the_smallest_size_that_reaches_or_else_the_largest(
    name: str, field: str, width: int, height: int, setting: str
) -> None:
    assert MODELS[name].request("", Target(width, height))[field] == setting


@pytest.mark.parametrize(
    ("name", "width", "height", "reached"),
    [
        (V4, 3840, 2160, True),
        (V4, 3842, 2160, False),
        (V4, 1024, 1024, False),
        (NANO, 2560, 1440, True),
        (NANO, 3840, 2160, False),
    ],
)
def test_reaching_needs_the_pixels_and_the_aspect(name: str, width: int, height: int, reached: bool) -> None:
    assert MODELS[name].reaches(Target(width, height)) is reached


def test_a_wider_tolerance_reaches_more() -> None:
    assert not MODELS[V4].reaches(Target(2000, 1152))
    assert MODELS[V4].reaches(Target(2000, 1152, 0.05))


def test_the_shape_names_model_request_and_target() -> None:
    assert MODELS[V4].shape(Target()) == f"{V4} 2K landscape_16_9 -> 2048x1152 exact"
    assert MODELS[V45].shape(Target(3840, 2160, fit=Fit.KEEP)) == f"{V45} high 16:9 -> 3840x2160 keep"


def test_a_result_is_evidence_for_the_target_that_it_was_measured_by() -> None:
    keep = Target(1920, 1080, fit=Fit.KEEP)
    assert judged_by(POLICY.target, SHAPE) == SHAPE
    assert judged_by(keep, SHAPE) == "bytedance/seedream-v4-text-to-image 2K landscape_16_9 -> 1920x1080 keep"


def test_everything_that_may_be_ordered_has_its_shape_and_price() -> None:
    assert offers(Policy(fallback_models=("nano-banana-2",))) == (
        ("bytedance/seedream-v4-text-to-image 2K landscape_16_9 -> 2048x1152 exact", 5),
        ("nano-banana-2 2K 16:9 -> 2048x1152 exact", 12),
    )
