"""What the key of a stored picture says of its bytes."""

from hashlib import sha256


def is_of(key: str, data: bytes) -> bool:
    """Whether these bytes were stored under the key, whose last part is the beginning of their SHA-256."""
    name = key.rpartition("/")[2]
    return sha256(data).hexdigest().startswith(name.rpartition(".")[0] or name)
