"""Any picture as plain RGB: eight bits, sRGB, no alpha."""

import io

from PIL import Image, ImageCms

GROUND = (0, 0, 0)
"""What shows through alpha. Generated covers use it for glows and fades, which turn to grey halos on white."""


def is_plain_jpeg(opened: Image.Image) -> bool:
    return opened.format == "JPEG" and opened.mode == "RGB" and _foreign_profile(opened) is None


def to_rgb(opened: Image.Image, *, sixteen_bits: bool) -> Image.Image:
    """The first frame. A profile that is damaged, or of another kind of colour, is left out of account; so is, in a
    file of `sixteen_bits`, which colour is transparent: it is told in as many, and Pillow takes others for it."""
    profile = _foreign_profile(opened)
    picture = _eight_bits(opened)
    if sixteen_bits:
        picture.info.pop("transparency", None)
    if picture.has_transparency_data:
        picture = _flat(picture)
    elif picture.mode not in {"RGB", "L", "CMYK"}:
        picture = picture.convert("RGB")
    return _in_srgb(picture, profile) if profile else _rgb(picture)


def _rgb(picture: Image.Image) -> Image.Image:
    """To convert what is RGB already would copy it, which takes longer than to decode it."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(opened: Image.Image) -> Image.Image:
    """Pillow's own conversion from 16 bits cuts off everything above 255 instead of scaling."""
    if not opened.mode.startswith("I"):
        return opened
    return opened.point(lambda value: value * (1 / 257)).convert("L")


def _flat(picture: Image.Image) -> Image.Image:
    seen = picture.convert("RGBA")
    ground = Image.new("RGB", seen.size, GROUND)
    ground.paste(seen, mask=seen.getchannel("A"))
    return ground


def _foreign_profile(opened: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded profile, if there is one that can be read and it is not sRGB anyway."""
    data = opened.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return None if "sRGB" in ImageCms.getProfileDescription(profile) else profile
    except (OSError, ImageCms.PyCMSError):
        return None


def _in_srgb(picture: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ValueError, ImageCms.PyCMSError):
        return picture.convert("RGB")
    return converted or picture.convert("RGB")
