"""The words for where a track stands. The same in code, tables, metrics, commands and docs."""

from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    EXPIRING = "expiring"
    UNVERIFIED = "unverified"
    SETTLING = "settling"
    MISSING = "missing"
    BELOW_TARGET = "below_target"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    AWAITING = "awaiting"
    FETCHING = "fetching"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    INVALID = "invalid"

    @property
    def stuck(self) -> bool:
        return self not in _SOUND


_SOUND = frozenset({State.OK, State.EXPIRING, State.UNVERIFIED, State.SETTLING})
UNDER_WAY = frozenset({State.SUBMITTING, State.AWAITING, State.FETCHING})
AT_REST = frozenset({State.OK, State.SETTLING})
"""A run in which every track looked at is in one of these ends with exit code 0."""


class Reason(StrEnum):
    DUE = "due"
    BUDGET = "budget"
    OUT_OF_CREDITS = "out_of_credits"
    UNAUTHORIZED = "unauthorized"
    GATE_CLOSED = "gate_closed"
    PAUSED = "paused"
    MODEL_UNPROVEN = "model_unproven"
    REQUEST_REJECTED = "request_rejected"
    HOST_SUSPECT = "host_suspect"
    IN_FLIGHT = "in_flight"
    UNKNOWN_PURCHASE = "unknown_purchase"
    OVERDUE = "overdue"
    DOWNLOAD_FAILED = "download_failed"
    STORAGE_FAILED = "storage_failed"
    PROVIDER_FAILED = "provider_failed"
    CONTENT_REJECTED = "content_rejected"
    IMAGE_REJECTED = "image_rejected"
    WRITE_CONFLICT = "write_conflict"
    HOST_REFUSED = "host_refused"
    NO_PROMPT = "no_prompt"
    ATTEMPTS_SPENT = "attempts_spent"
    INVALID_ROW = "invalid_row"


Place = tuple[State, Reason | None]
"""Where a track stands, and why."""


class How(StrEnum):
    """By which source a track was resolved."""

    ALREADY_GOOD = "already_good"
    RESTORED = "restored"
    REHOSTED = "rehosted"
    ADOPTED = "adopted"
    SUNO = "suno"
    GENERATED = "generated"


class Flaw(StrEnum):
    """Why a picture that arrived is not taken."""

    TOO_SMALL = "too_small"
    ASPECT = "aspect"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    FORMAT = "format"
    TOO_LARGE = "too_large"
    BLANK = "blank"
