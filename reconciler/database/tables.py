"""Our own tables, beside the app's. Ids are text, whatever the app's are."""

from datetime import UTC, datetime
from typing import Any

from peewee import SQL, AutoField, BooleanField, CompositeKey, FloatField, IntegerField, Model, TextField

from reconciler.database.fields import InstantField, ListField, WordField
from reconciler.domain.gate import GateName
from reconciler.domain.model import Outcome, TaskState, Verdict
from reconciler.domain.states import Reason, State
from reconciler.ports import Step

ANEW = datetime.fromtimestamp(0, UTC)


class Own(Model):
    class Meta:
        legacy_table_names = False
        """Names of indexes begin with the table's."""

    @classmethod
    def table_name(cls) -> str:
        return str(cls._meta.table_name)

    @classmethod
    def columns(cls) -> list[Any]:
        return list(cls._meta.sorted_fields)


class SchemaVersion(Own):
    class Meta:
        table_name = "reconciler_schema"

    version = IntegerField(primary_key=True)
    applied_at = InstantField()


class Remembered(Own):
    """One track: where it stands, who works it, and `doc`, the rest of its memory as JSON."""

    class Meta:
        table_name = "reconciler_memory"
        indexes = ((("state", "reason"), False),)

    track_id = TextField(primary_key=True)
    state = WordField(State, null=True)
    """None: not in scope."""
    reason = WordField(Reason, null=True)
    held = TextField(null=True)
    due_at = InstantField(null=True, index=True)
    settles_at = InstantField(null=True)
    expires_at = InstantField(null=True)
    stands_until = InstantField(null=True)
    """`ANEW`: not any more, whatever the clock is set to."""
    wants = TextField(null=True)
    repeats = BooleanField(default=False)
    tried_at = InstantField(null=True, index=True)
    """Of one in line to buy: since when it stands there."""
    first_seen = InstantField()
    needy_since = InstantField(null=True)
    seen = TextField(null=True)
    stamp = TextField(null=True)
    gone_since = InstantField(null=True)
    ignored = BooleanField(default=False)
    lease_owner = TextField(null=True)
    lease_until = InstantField(null=True)
    lease_step = WordField(Step, null=True)
    generation = IntegerField(default=0)
    doc = TextField()


def _where_told(*fields: Any) -> Any:
    """An index without the rows, nearly all, in which the first of the fields is NULL: they need not be kept in it."""
    return Remembered.index(*fields, where=fields[0].is_null(False))


Remembered.add_index(_where_told(Remembered.lease_until))
Remembered.add_index(_where_told(Remembered.gone_since))
Remembered.add_index(_where_told(Remembered.held, Remembered.tried_at))


class Bought(Own):
    """Every field of Purchase. `over_at`: from then on no request of it is under way."""

    class Meta:
        table_name = "reconciler_purchase"
        # The gate counts by the first, which has all that it sums. PostgreSQL takes a short one where it cannot guess.
        indexes = (
            (("over_at", "sent", "outcome", "price"), False),
            (("shape", "verdict"), False),
            (("verdict", "outcome"), False),
        )

    token = TextField(primary_key=True)
    track_id = TextField(index=True)
    model = TextField()
    shape = TextField()
    prompt = TextField()
    price = FloatField()
    at = InstantField()
    send_before = InstantField()
    deadline = InstantField()
    repeat_of = TextField(null=True)
    song = TextField(null=True)
    answered_at = InstantField(null=True)
    outcome = WordField(Outcome)
    sent = BooleanField()
    task_id = TextField(null=True)
    urls = ListField()
    refusal = WordField(Reason, null=True)
    detail = TextField()
    verdict = WordField(Verdict)
    ended_at = InstantField(null=True)
    over_at = InstantField(index=True)


class Polled(Own):
    """Every field of Task."""

    class Meta:
        table_name = "reconciler_task"

    id = TextField(primary_key=True)
    first_seen = InstantField()
    created_at = InstantField(null=True)
    state = WordField(TaskState)
    urls = ListField()
    failure = WordField(Reason, null=True)
    detail = TextField()
    polls = IntegerField()
    next_poll = InstantField(null=True)
    not_found = IntegerField()
    first_not_found = InstantField(null=True)
    faults = IntegerField()
    first_fault = InstantField(null=True)
    completed_at = InstantField(null=True)


class HandedOver(Own):
    """Public: the app inserts image tasks that it started."""

    class Meta:
        table_name = "reconciler_image_task"
        primary_key = CompositeKey("track_id", "task_id")

    track_id = TextField()
    task_id = TextField()
    created_at = InstantField(null=True, constraints=[SQL("DEFAULT CURRENT_TIMESTAMP")])


class CalledBack(Own):
    """Callbacks about our orders: what each first said of which task has ended, '' where it did not."""

    class Meta:
        table_name = "reconciler_callback"
        primary_key = CompositeKey("token", "task_id")

    token = TextField()
    task_id = TextField()
    track_id = TextField(index=True)
    at = InstantField()


class GateRow(Own):
    """One row."""

    class Meta:
        table_name = "reconciler_gate"

    id = IntegerField(primary_key=True)
    paused = BooleanField(default=False)
    balance = FloatField(null=True)
    balance_at = InstantField(null=True)
    breaker = TextField(null=True)


class Closed(Own):
    """Every field of Closure; `shape` '' where all are meant."""

    class Meta:
        table_name = "reconciler_closure"
        primary_key = CompositeKey("name", "shape")

    name = WordField(GateName)
    shape = TextField()
    at = InstantField()
    until = InstantField(null=True)
    detail = TextField()
    trial = BooleanField(default=False)


class Shape(Own):
    """Every shape ever ordered, and the tries that an operator granted it."""

    class Meta:
        table_name = "reconciler_shape"

    shape = TextField(primary_key=True)
    granted = IntegerField(default=0)


class LosingHost(Own):
    """`lost`: pictures found dead on the host within an audit's length from `since` on."""

    class Meta:
        table_name = "reconciler_host"

    host = TextField(primary_key=True)
    since = InstantField()
    lost = IntegerField()


class Tried(Own):
    """What was tried for a track and what came of it; the same again and again is one row. `times`: how often."""

    class Meta:
        table_name = "reconciler_attempt"
        indexes = ((("track_id", "id"), False),)

    id: Any = AutoField()
    track_id = TextField()
    first_at = InstantField()
    at = InstantField(index=True)
    step = TextField()
    about = TextField()
    came = TextField()
    detail = TextField()
    times = IntegerField(default=1)


class Note(Own):
    """Single values, by the names that `notes` knows."""

    class Meta:
        table_name = "reconciler_note"

    name = TextField(primary_key=True)
    value = TextField()


ALL: tuple[type[Own], ...] = (
    SchemaVersion,
    Remembered,
    Bought,
    Polled,
    HandedOver,
    CalledBack,
    GateRow,
    Closed,
    Shape,
    LosingHost,
    Tried,
    Note,
)

HAND_OVER = HandedOver.table_name()
OWN = tuple(model.table_name() for model in ALL)
