"""What a callback says, and whether Kie says it. Pure; nothing here raises for any body or header.

A body is never trusted: the ids in it are what somebody told, to be confirmed by the task's own record.
"""

import base64
import hashlib
import hmac

from reconciler.kie.wire import loads, task_id, unpacked


def task_ids(body: bytes) -> tuple[str, ...]:
    """The ids that are told, each once, from the four places where one may stand; none where nothing can be read."""
    top = unpacked(loads(body))
    if not isinstance(top, dict):
        return ()
    data = unpacked(top.get("data"))
    places = (data, top) if isinstance(data, dict) else (top,)
    told = (task_id({key: place.get(key)}) for place in places for key in ("task_id", "taskId"))
    return tuple(dict.fromkeys(each for each in told if each is not None))


def is_signed(body: bytes, key: str, timestamp: str | None, signature: str | None) -> bool:
    """By `key`, over any id that is told: X-Webhook-Signature is base64(HMAC-SHA256(key, id + "." + timestamp)).

    The timestamp's age is not judged: a callback that comes late, or again, does no harm.
    """
    if not timestamp or not signature or not (timestamp + signature).isascii():
        return False
    given = signature.encode()
    # Every id is compared, so that the time taken tells of none.
    matches = [hmac.compare_digest(_signature(key, told, timestamp), given) for told in task_ids(body)]
    return any(matches)


def _signature(key: str, told: str, timestamp: str) -> bytes:
    return base64.b64encode(hmac.digest(key.encode(), f"{told}.{timestamp}".encode(), hashlib.sha256))
