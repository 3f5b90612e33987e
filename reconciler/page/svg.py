"""Pictures drawn in SVG, with attributes only: a policy that forbids styles and scripts lets them be.

Where a length is a share of the whole it is given in percent, so that what is drawn fits any width and its letters
keep their size.
"""

from html import escape

from markupsafe import Markup


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """`class_` for `class`, `text_anchor` for `text-anchor`. Texts and values are escaped."""
    spelled = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    inside = "".join(str(child) if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{spelled}>{inside}</{name}>")  # noqa: S704 - everything in it is escaped


def figure(name: str, title: str, desc: str, *drawn: Markup, height: int) -> Markup:
    """With what is read aloud of it. `name`: of this figure alone on its page."""
    told = element("title", title, id=f"{name}-title"), element("desc", desc, id=f"{name}-desc")
    labelled = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc"}
    return element("svg", *told, *drawn, class_=name, width="100%", height=height, **labelled)


def share(part: float) -> str:
    """Percent of a whole."""
    return f"{100 * part:.3f}%"


def patterns() -> Markup:
    """What all figures of a page fill with, by `hatched`: so that no colour is needed to tell looks apart."""
    return element("svg", element("defs", *_PATTERNS), class_="patterns", width=0, height=0, aria_hidden="true")


def hatched(look: str) -> str:
    return f"url(#hatch-{look})"


def _pattern(name: str, size: int, *drawn: Markup, turned: int = 0) -> Markup:
    square = element("rect", width=size, height=size, class_=f"fill-{name}")
    turn = {"patternTransform": f"rotate({turned})"} if turned else {}
    shape = {"id": f"hatch-{name}", "width": size, "height": size, "patternUnits": "userSpaceOnUse", **turn}
    return element("pattern", square, *drawn, **shape)


def sign(name: str) -> Markup:
    """In a circle, beside the verdict."""
    circle = element("circle", cx=24, cy=24, r=22, class_="ring")
    return element(
        "svg", circle, element("path", d=_SIGNS[name]), class_="sign", viewBox="0 0 48 48", aria_hidden="true"
    )


_SIGNS = {
    "check": "M14 25 l7 7 l13 -15",
    "bang": "M24 13 v14 M24 34 v1",
    "pause": "M19 16 v16 M29 16 v16",
    "cross": "M17 17 l14 14 M31 17 l-14 14",
    "clock": "M24 13 v11 l7 5",
}
_PATTERNS = (
    _pattern("sound", 8),
    _pattern("soon", 8, element("circle", cx=4, cy=4, r=1.4, class_="mark")),
    _pattern("work", 8, element("rect", width=3, height=8, class_="mark"), turned=45),
    _pattern("wait", 6, element("rect", width=6, height=2, class_="mark")),
    _pattern(
        "over",
        8,
        element("rect", width=2, height=8, class_="mark"),
        element("rect", width=8, height=2, class_="mark"),
        turned=45,
    ),
)
