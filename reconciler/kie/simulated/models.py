"""The image models on sale: prices, limits, the checks that Kie makes, and what size comes out.

Prices and limits from Kie's model pages (November 2026). Nobody has published measured sizes; these are the likeliest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.kie.simulated.behaviour import Refuse

Input = Mapping[str, object]
Size = tuple[int, int]

_STEP: Final = 32  # edges are multiples of it: hence 2752x1536 and 1344x768, which are not quite 16:9

_RATIOS: Final = ("1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9")
_SHAPES: Final[dict[str, str]] = {
    "square": "1:1",
    "square_hd": "1:1",
    "portrait_4_3": "3:4",
    "portrait_3_2": "2:3",
    "portrait_16_9": "9:16",
    "landscape_4_3": "4:3",
    "landscape_3_2": "3:2",
    "landscape_16_9": "16:9",
    "landscape_21_9": "21:9",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`long_edges`: the longer edge in pixels by the value of `scale_field`; "" is the default."""

    name: str
    price: float
    prompt_limit: int
    ratio_field: str
    scale_field: str
    long_edges: Mapping[str, int]
    required: tuple[str, ...] = ("prompt",)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def size(self, given: Input, *, maker_rule: bool) -> Size:
        """What comes out. By the maker's table 2K at 16:9 is 2560x1440 where Kie's rule says 2048x1152."""
        shape = str(given.get(self.ratio_field, ""))
        wide, high = (int(part) for part in _SHAPES.get(shape, shape if ":" in shape else "1:1").split(":"))
        edge = self.long_edges.get(str(given.get(self.scale_field, "")), self.long_edges[""])
        if maker_rule and edge == 2048 and (wide, high) == (16, 9):
            edge = 2560
        short = round(edge * min(wide, high) / max(wide, high) / _STEP) * _STEP
        return (edge, short) if wide >= high else (short, edge)

    def objection(self, given: Input) -> Refuse | None:
        """Kie's validation. Fields that it does not know are ignored, as the real one does."""
        if any(not given.get(name) for name in self.required):
            return Refuse(500, "This field is required")
        if len(str(given["prompt"])) > self.prompt_limit:
            return Refuse(
                500, f"prompt is not within the range of allowed options: at most {self.prompt_limit} characters"
            )
        for name, allowed in self.options.items():
            if name in given and given[name] not in allowed:
                return Refuse(500, f"{name} is not within the range of allowed options")
        return None


def _quality_model(name: str, price: float, options: Mapping[str, tuple[str, ...]]) -> Model:
    return Model(
        name=name,
        price=price,
        prompt_limit=3000,
        ratio_field="aspect_ratio",
        scale_field="quality",
        long_edges={"": 2560, "basic": 2560, "high": 4096},
        required=("prompt", "aspect_ratio", "quality"),
        options={"aspect_ratio": _RATIOS, "quality": ("basic", "high"), **options},
    )


_SEEDREAM_4: Final = Model(
    name="bytedance/seedream-v4-text-to-image",
    price=5.0,
    prompt_limit=5000,
    ratio_field="image_size",
    scale_field="image_resolution",
    long_edges={"": 1024, "1K": 1024, "2K": 2048, "4K": 4096},
    options={"image_size": tuple(_SHAPES), "image_resolution": ("1K", "2K", "4K")},
)
_NANO_BANANA_2: Final = Model(
    name="nano-banana-2",
    price=12.0,
    prompt_limit=20000,
    ratio_field="aspect_ratio",
    scale_field="resolution",
    long_edges={"": 1376, "1K": 1376, "2K": 2752, "4K": 5504},
    options={
        "aspect_ratio": ("auto", *_RATIOS),
        "resolution": ("1K", "2K", "4K"),
        "output_format": ("png", "jpg"),
    },
)
_TOO_SMALL: Final = Model(
    name="google/nano-banana",
    price=4.0,
    prompt_limit=20000,
    ratio_field="image_size",
    scale_field="",
    long_edges={"": 1344},
    options={"image_size": ("auto", *_RATIOS)},
)

MODELS: Final[Mapping[str, Model]] = {
    model.name: model
    for model in (
        _SEEDREAM_4,
        _quality_model("seedream/4.5-text-to-image", 6.5, {}),
        _quality_model("seedream/5-lite-text-to-image", 5.5, {"output_format": ("png", "jpeg")}),
        _NANO_BANANA_2,
        _TOO_SMALL,
    )
}
NOT_PUBLISHED: Final = Refuse(422, "The model is not published")
