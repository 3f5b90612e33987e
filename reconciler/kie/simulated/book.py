"""The book: every creation and every other request, as Kie saw them. The referee of what the program promises."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum


class Money(StrEnum):
    """What became of a creation's price."""

    NONE = "none"  # nothing was made
    HELD = "held"
    CHARGED = "charged"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """One arrival at createTask. `answer` is the body's code, the HTTP status of a page, or the connection's fault."""

    number: int
    arrived_at: datetime
    answer: str
    model: str
    prompt: str
    input: Mapping[str, object]
    call_back_url: str | None
    task_id: str | None = None
    price: float = 0.0
    money: Money = Money.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Any other request."""

    at: datetime
    operation: str
    method: str
    path: str
    task_id: str | None
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A callback. `answer`: the HTTP status, "nobody" where none came, "lost" where it was not sent; None: not yet."""

    number: int
    at: datetime
    task_id: str
    url: str
    attempt: int
    answer: str | None


@dataclass(slots=True)
class Book:
    """`creations` holds every arrival, refused ones too; `purchases` those by which a task was made and paid for.

    `errors` holds what no client may ever do (its API key at a file host) and what this server should not (a crash).
    """

    _creations: list[Creation] = field(default_factory=list)
    _visits: list[Visit] = field(default_factory=list)
    _tellings: list[Telling] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    writes: int = 0

    @property
    def creations(self) -> Sequence[Creation]:
        return tuple(self._creations)

    @property
    def next_number(self) -> int:
        """Of the creation that is entered next."""
        return len(self._creations) + 1

    @property
    def visits(self) -> Sequence[Visit]:
        """All requests but creations."""
        return tuple(self._visits)

    @property
    def callbacks(self) -> Sequence[Telling]:
        """Every attempt, lost ones too."""
        return tuple(self._tellings)

    @property
    def purchases(self) -> Sequence[Creation]:
        return tuple(each for each in self._creations if each.task_id is not None)

    def purchases_for(self, prompt_contains: str) -> Sequence[Creation]:
        return tuple(each for each in self.purchases if prompt_contains in each.prompt)

    def visits_of(self, operation: str, task_id: str | None = None) -> Sequence[Visit]:
        return tuple(each for each in self._visits if each.operation == operation and task_id in (None, each.task_id))

    @property
    def credits_spent(self) -> float:
        """Charged for good; what is held or was refunded is not in it."""
        return round(sum(each.price for each in self._creations if each.money is Money.CHARGED), 2)

    @property
    def credits_held(self) -> float:
        return round(sum(each.price for each in self._creations if each.money is Money.HELD), 2)

    def enter(self, creation: Creation) -> None:
        self._creations.append(creation)

    def enter_visit(self, visit: Visit) -> None:
        self._visits.append(visit)

    def enter_telling(self, telling: Telling) -> None:
        self._tellings.append(telling)

    def tell(self, number: int, answer: str) -> None:
        """What a callback was answered with."""
        self._tellings[number - 1] = replace(self._tellings[number - 1], answer=answer)

    def settle(self, number: int, money: Money) -> None:
        self._creations[number - 1] = replace(self._creations[number - 1], money=money)

    def as_json(self) -> dict[str, object]:
        """Values that `json.dumps` takes; times in ISO 8601."""
        return {
            "creations": [_plain(asdict(each)) for each in self._creations],
            "visits": [_plain(asdict(each)) for each in self._visits],
            "callbacks": [_plain(asdict(each)) for each in self._tellings],
            "errors": list(self.errors),
            "writes": self.writes,
            "credits_spent": self.credits_spent,
            "credits_held": self.credits_held,
        }


def _plain(fields: dict[str, object]) -> dict[str, object]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}
