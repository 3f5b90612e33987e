"""Where an answer leads on to, as browsers read it."""

from urllib.parse import urljoin

from reconciler.transport import Reply

MOST = 5
"""So many are followed, one after the other."""
_STATUSES = frozenset({301, 302, 303, 307, 308})


def leads_on(reply: Reply) -> bool:
    return reply.status in _STATUSES


def target(url: str, reply: Reply) -> str | None:
    """None where it cannot be told. Servers send bytes beyond ASCII as they are, each one letter in our headers."""
    try:
        told = reply.headers["location"].strip(" \t")
        return urljoin(url, "".join(byte if byte.isascii() else f"%{ord(byte):02X}" for byte in told))
    except (KeyError, ValueError):
        return None
