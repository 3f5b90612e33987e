"""Kie's image models that reach the target: what to ask of each, and what it costs. Source: facts of 2026-11."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.domain.policy import Policy, Target


@dataclass(frozen=True, slots=True)
class Size:
    """One setting of a model's size field, with the pixels that 16:9 yields at least."""

    setting: str
    width: int
    height: int


_FOR = " -> "
"""Between what is asked of a model and the target, in a shape."""
_HIGH = (3840, 2160)
"""4K by the name of the size; unmeasured."""


@dataclass(frozen=True, slots=True)
class Model:
    """`price` in credits, `prompt_limit` in characters, `sizes` from small to large.

    Kie ignores unknown input fields silently and its enum values are case-sensitive, so names and values are exact.
    """

    name: str
    prompt_limit: int
    price: float
    size_field: str
    sizes: tuple[Size, ...]
    fixed: tuple[tuple[str, object], ...]

    def request(self, prompt: str, target: Target) -> dict[str, object]:
        """The `input` object of a creation."""
        return {"prompt": prompt, **dict(self.fixed), self.size_field: self._size(target).setting}

    def reaches(self, target: Target) -> bool:
        """Some size yields a picture that meets the target, or can be cropped and scaled down to it."""
        return any(target.usable(size.width, size.height) for size in self.sizes)

    def shape(self, target: Target) -> str:
        """What is proven together: the model, its request apart from the prompt, and the target."""
        size, aspect = self._size(target), self.fixed[0][1]
        return judged_by(target, f"{self.name} {size.setting} {aspect}")

    def _size(self, target: Target) -> Size:
        enough = (size for size in self.sizes if target.covers(size.width, size.height))
        return next(enough, self.sizes[-1])


_SEEDREAM_SIZES = (Size("basic", 2560, 1440), Size("high", *_HIGH))

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="bytedance/seedream-v4-text-to-image",
            prompt_limit=5000,
            price=5,
            size_field="image_resolution",
            sizes=(Size("2K", 2048, 1152), Size("4K", *_HIGH)),
            fixed=(("image_size", "landscape_16_9"), ("max_images", 1)),
        ),
        Model(
            name="seedream/4.5-text-to-image",
            prompt_limit=3000,
            price=6.5,
            size_field="quality",
            sizes=_SEEDREAM_SIZES,
            fixed=(("aspect_ratio", "16:9"),),
        ),
        Model(
            name="seedream/5-lite-text-to-image",
            prompt_limit=3000,
            price=5.5,
            size_field="quality",
            sizes=_SEEDREAM_SIZES,
            fixed=(("aspect_ratio", "16:9"),),
        ),
        Model(
            name="nano-banana-2",
            prompt_limit=20000,
            price=12,
            size_field="resolution",
            sizes=(Size("2K", 2752, 1536),),
            fixed=(("aspect_ratio", "16:9"),),
        ),
    )
}


def judged_by(target: Target, shape: str) -> str:
    """The shape of which a result is evidence that was ordered as `shape`, and measured by this target."""
    return f"{shape.partition(_FOR)[0]}{_FOR}{target.resolution} {target.fit}"


def offers(policy: Policy) -> tuple[tuple[str, float], ...]:
    """Shape and price of everything that may be ordered."""
    models = [MODELS[name] for name in (policy.model, *policy.fallback_models)]
    return tuple((model.shape(policy.target), model.price) for model in models)
