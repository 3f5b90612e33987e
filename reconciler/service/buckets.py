"""How often each address may come: a bucket of tokens for each, in a table that does not grow without end."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

_ADDRESSES = 4096


class Buckets:
    """Safe in several threads. Of more addresses than are kept, the one that has not come for longest is forgotten."""

    def __init__(
        self, at_once: int, per_second: float, monotonic: Callable[[], float], addresses: int = _ADDRESSES
    ) -> None:
        self._at_once, self._per_second, self._monotonic, self._addresses = at_once, per_second, monotonic, addresses
        self._lock = Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_for(self, address: str) -> float:
        """Takes a token; 0, or the seconds until there is one again."""
        with self._lock:
            now = self._monotonic()
            left, since = self._left.pop(address, (float(self._at_once), now))
            left = min(self._at_once, left + (now - since) * self._per_second)
            taken = left >= 1
            self._left[address] = (left - taken, now)
            if len(self._left) > self._addresses:
                self._left.popitem(last=False)
            return 0.0 if taken else (1 - left) / self._per_second
