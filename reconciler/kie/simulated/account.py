"""The account behind the key: its balance and its limits."""

from datetime import datetime

from reconciler.kie.simulated.behaviour import NO_CREDITS, RATE_LIMITED, TOO_FREQUENT, UNAUTHORIZED, Refuse
from reconciler.kie.simulated.settings import Settings


class Account:
    """Credits are held at creation; charging keeps them, a refund gives them back. Above a limit calls are rejected."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arrivals: list[datetime] = []
        self._queries: dict[str, list[datetime]] = {}
        self.balance = settings.credits
        self.running = 0

    def refuses_key(self, key: str) -> Refuse | None:
        keys = self._settings.api_keys
        return None if (bool(key) if keys is None else key in keys) else UNAUTHORIZED

    def arrive(self, now: datetime) -> Refuse | None:
        """Counts a creation by its arrival in the sliding window; one that is rejected takes no room in it."""
        start = now - self._settings.creation_window
        self._arrivals = [time for time in self._arrivals if time > start]
        if len(self._arrivals) >= self._settings.creation_limit:
            return self._too_frequent()
        self._arrivals.append(now)
        return None

    def query(self, task_id: str, now: datetime) -> Refuse | None:
        """Counts a query of one task in the last second."""
        limit = self._settings.queries_per_second
        if limit is None:
            return None
        recent = [time for time in self._queries.get(task_id, []) if (now - time).total_seconds() < 1]
        self._queries[task_id] = recent
        if len(recent) >= limit:
            return RATE_LIMITED
        recent.append(now)
        return None

    def hold(self, price: float) -> Refuse | None:
        """Takes the price and a running place."""
        if self.running >= self._settings.max_running:
            return self._too_frequent()
        if self.balance < price:
            return NO_CREDITS
        self.balance = round(self.balance - price, 2)
        self.running += 1
        return None

    def release(self, price: float, *, refund: bool) -> None:
        """A held task ended."""
        self.running -= 1
        if refund:
            self.balance = round(self.balance + price, 2)

    def _too_frequent(self) -> Refuse:
        return RATE_LIMITED if self._settings.limit_code == RATE_LIMITED.code else TOO_FREQUENT
