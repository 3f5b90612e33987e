"""Under which key a picture is stored: `tracks/<id>/<first 16 hex digits of its SHA-256>.<extension>`."""

from hashlib import sha256

from reconciler.domain.keys import is_key
from reconciler.ports import Prepared

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST = 200
"""File names end at 255 bytes."""


def folder_of(track_id: str) -> str:
    """One name for each id, with neither dots nor slashes: other bytes are written `~hh`.

    The empty id is `~`; a name over 200 bytes ends in `~~` and 32 digits of the id's SHA-256. No other id is.
    """
    raw = track_id.encode("utf-8", "surrogatepass")
    name = "".join(chr(byte) if byte in _PLAIN else f"~{byte:02x}" for byte in raw) or "~"
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 34]}~~{sha256(raw).hexdigest()[:32]}"


def is_folder(name: str) -> bool:
    """Whether pictures of a track can lie there."""
    return is_key(f"tracks/{name}/{'0' * 16}.jpg")


def key_of(track_id: str, picture: Prepared) -> str:
    return f"tracks/{folder_of(track_id)}/{picture.sha256[:16]}.{picture.extension}"
