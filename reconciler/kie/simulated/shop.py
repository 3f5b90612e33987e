"""Where tasks are made: by a creation that is paid for, or put there by a test as somebody else's."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.kie.simulated.account import Account
from reconciler.kie.simulated.behaviour import CONTENT_REFUSED, CONTENT_REFUSED_AT_ONCE, Outcome, Refuse, Succeed
from reconciler.kie.simulated.book import Book, Money
from reconciler.kie.simulated.files import Shelf
from reconciler.kie.simulated.models import MODELS, NOT_PUBLISHED, Model
from reconciler.kie.simulated.rules import Call, Script
from reconciler.kie.simulated.settings import Settings, TwoK
from reconciler.kie.simulated.tasks import Phase, Task
from reconciler.kie.simulated.wire import Request


@dataclass(frozen=True, slots=True)
class Order:
    """The readable part of a creation's body; unreadable ones give empty fields."""

    model: str
    prompt: str
    input: Mapping[str, object]
    call_back_url: str | None

    @classmethod
    def read(cls, request: Request) -> "Order":
        body = request.json_object() or {}
        given = body.get("input")
        given = given if isinstance(given, dict) else {}
        model, url, prompt = str(body.get("model") or ""), body.get("callBackUrl"), given.get("prompt")
        prompt = prompt if isinstance(prompt, str) else ""
        return cls(model, prompt, given, url if isinstance(url, str) else None)


class Shop:
    """Not thread-safe by itself: the core holds its lock."""

    def __init__(self, settings: Settings, seed: int, script: Script, shelf: Shelf, book: Book) -> None:
        self._settings, self._seed, self._script, self._shelf, self._book = settings, seed, script, shelf, book
        self.account = Account(settings)
        self.tasks: dict[str, Task] = {}
        self._made = Counter[str]()
        self._open: list[Task] = []

    def buy(self, order: Order, call: Call, key: str, number: int, *, at_once: bool) -> Task | Refuse:
        """Makes a task as Kie would, finished if `at_once`; checks go: key, rate, request, content, credits."""
        model = MODELS.get(order.model)
        refusal = self.account.refuses_key(key) or self.account.arrive(call.at) or self._objection(order, model)
        if refusal is not None or model is None:
            return refusal or NOT_PUBLISHED
        refusal = self.account.hold(model.price)
        if refusal is not None:
            return refusal
        outcome = self._outcome(order, call)
        if at_once:
            outcome = replace(outcome if isinstance(outcome, Succeed) else Succeed(), run=timedelta(0))
        task = self.place(order, model, call.at, outcome, f"{self._made[order.prompt]}/{order.prompt}")
        task.number = number
        self._open.append(task)
        return task

    def place(
        self, order: Order, model: Model, at: datetime, outcome: Outcome, name: str, task_id: str | None = None
    ) -> Task:
        """Puts a task and its files where they can be asked for.

        Chance depends on the seed and `name` alone, so that the order of threads changes nothing.
        """
        dice = random.Random(hashlib.sha256(f"{self._seed}/{name}".encode("utf-8", "replace")).digest())
        maker_rule = {TwoK.KIE: False, TwoK.MAKER: True, TwoK.EITHER: dice.random() < 0.5}[self._settings.two_k]
        least, most = self._settings.min_run, self._settings.max_run
        task = Task(
            task_id=task_id or f"{dice.getrandbits(128):032x}",
            model=order.model,
            prompt=order.prompt,
            input=order.input,
            call_back_url=order.call_back_url,
            created_at=at,
            outcome=outcome,
            drawn_run=least + (most - least) * dice.random(),
            natural_size=model.size(order.input, maker_rule=maker_rule),
            price=model.price,
            serial=dice.randrange(1000, 10000),
        )
        self.tasks[task.task_id] = task
        self._made[task.prompt] += 1
        self._shelf.put(task.files(self._settings.file_life))
        return task

    @property
    def next_end(self) -> datetime | None:
        """Of those that run and are to be told of."""
        ends = (task.ends_at for task in self._open if task.call_back_url is not None)
        return min((end for end in ends if end is not None), default=None)

    def settle(self, now: datetime) -> Sequence[Task]:
        """Charges what has succeeded by now and refunds what has failed; what has ended, in the order of the ends."""
        ended = self._ended(now)
        for task in ended:
            failed = task.phase(now) is Phase.FAIL
            self.account.release(task.price, refund=failed)
            if task.number is not None:
                self._book.settle(task.number, Money.REFUNDED if failed else Money.CHARGED)
        self._open = [task for task in self._open if task.phase(now) is Phase.RUNNING]
        return ended

    def _ended(self, now: datetime) -> list[Task]:
        ended = [task for task in self._open if task.phase(now) is not Phase.RUNNING]
        return sorted(ended, key=lambda task: task.ends_at or task.created_at)

    def _objection(self, order: Order, model: Model | None) -> Refuse | None:
        if model is None:
            return NOT_PUBLISHED
        if self._names(order, self._settings.refused_at_creation):
            return CONTENT_REFUSED_AT_ONCE
        return model.objection(order.input)

    def _outcome(self, order: Order, call: Call) -> Outcome:
        scripted = self._script.outcome_for(call)
        if scripted is not None:
            return scripted
        return CONTENT_REFUSED if self._names(order, self._settings.refused_words) else Succeed()

    @staticmethod
    def _names(order: Order, words: Iterable[str]) -> bool:
        return any(word.lower() in order.prompt.lower() for word in words)
