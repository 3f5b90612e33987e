"""What the key of a stored picture looks like, and what it says of its bytes."""

import re
from hashlib import sha256

_KEY = re.compile(r"tracks/[A-Za-z0-9_~-]{1,200}/[0-9a-f]{16}\.(?:jpg|png|webp)", re.ASCII)


def is_key(text: str) -> bool:
    """Whether a store can ever have made this key; nothing else is looked up, so no key leads out of the store."""
    return _KEY.fullmatch(text) is not None


def is_of(key: str, data: bytes) -> bool:
    """Whether these bytes were stored under the key, whose last part is the beginning of their SHA-256."""
    name = key.rpartition("/")[2]
    return sha256(data).hexdigest().startswith(name.rpartition(".")[0] or name)
