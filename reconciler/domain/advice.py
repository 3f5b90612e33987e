"""What each state means, what would change where a track stands, or why nothing is bought: for people."""

from collections.abc import Mapping
from typing import assert_never

from reconciler.domain.gate import GateName
from reconciler.domain.states import Reason, State

MEANINGS: Mapping[State, str] = {
    State.OK: "Its picture is measured, durable and of the target size.",
    State.EXPIRING: "Its picture has the right size, but lies where files die.",
    State.UNVERIFIED: "It has a picture that was never measured, or not since it changed.",
    State.SETTLING: "It is within grace, and not good yet.",
    State.MISSING: "It has no usable picture; a next step is due or held back.",
    State.BELOW_TARGET: "It has a picture that is not good enough; a next step is due or held back.",
    State.SUBMITTING: "An order for a picture is under way.",
    State.UNKNOWN: "The answer to an order was lost.",
    State.AWAITING: "A task runs at Kie.",
    State.FETCHING: "A picture is known that is not yet stored and written.",
    State.BACKING_OFF: "The last step failed, the next is scheduled.",
    State.FAILED: "It is given up.",
    State.INVALID: "The row cannot be worked.",
}


AT_AUDIT = "at the daemon's next audit (within schedule.audit_interval), or at once by `reconciler run --once`"
"""When what no sweep sees is looked at."""


_DIES = (
    "Once its URL has died another picture is looked for, and bought as far as budgets allow; set storage.kind to keep "
    "pictures."
)


def advice(state: State | None, reason: Reason | None, *, refuses_key: bool = False, keeps: bool = True) -> str:
    """What goes on by itself, and what an operator can do: a sentence or two. `refuses_key`: Kie does, so that nothing
    is asked there. `keeps`: pictures are stored."""
    if refuses_key and state is State.AWAITING:
        return to_do(Reason.UNAUTHORIZED)
    if state is State.EXPIRING and not keeps:
        return _DIES
    return " ".join(filter(None, (_by_itself(state), to_do(reason) if reason is not None else "")))


def _by_itself(state: State | None) -> str:
    match state:
        case None:
            return "It is out of scope by its status, its age or an operator's word, until that changes."
        case State.OK:
            return "Nothing is to be done; the picture is measured again in time."
        case State.EXPIRING:
            return "The next run takes its picture into the store before the URL dies."
        case State.UNVERIFIED:
            return f"Its picture is measured by the next sweep that is told of it, or {AT_AUDIT}."
        case State.SETTLING:
            return "It is left to the app's own writers until grace (database.grace) ends."
        case State.FAILED:
            return "It is given up; a change of the row (picture, music task, prompt) re-opens it."
        case State.INVALID:
            return "It is worked again when the row is mended."
        case State.BACKING_OFF:
            return "It is tried again by itself, each time after a longer pause."
        case State.UNKNOWN:
            return "After budget.hold_unknown the order may be repeated, once."
        case State.MISSING | State.BELOW_TARGET | State.SUBMITTING | State.AWAITING | State.FETCHING:
            return ""
        case _:  # pragma: no cover
            assert_never(state)


def to_do(reason: Reason) -> str:
    """What an operator can do about a reason, wherever a track stands."""
    return _TODO[reason]


_TODO = {
    Reason.DUE: f"The next sweep takes the next step. That of a row which no sweep sees comes {AT_AUDIT}.",
    Reason.BUDGET: "It goes on when the rolling hour or day has room; raise budget.per_hour or budget.per_day to buy "
    "sooner (0 never buys).",
    Reason.OUT_OF_CREDITS: "Top up the account at Kie or lower budget.min_credits; the balance is read again before "
    "anything is bought.",
    Reason.UNAUTHORIZED: "Kie refuses the key or there is none: put a valid one into kie.api_key or the credential "
    "kie_api_key.",
    Reason.GATE_CLOSED: "Purchases pause for a rate limit, for tasks that run, for an outage at Kie or, after a "
    "refusal, for the answer to each order, and go on by themselves. If it lasts, `reconciler check` tells whether Kie "
    "answers.",
    Reason.PAUSED: "An operator paused all purchases and writes; `reconciler resume` ends it.",
    Reason.MODEL_UNPROVEN: "No result of the model was good: choose another kie.model or change [target]; "
    "`reconciler retry --reason model_unproven` lets one more order through.",
    Reason.REQUEST_REJECTED: "Kie calls the request wrong: choose another kie.model, or install a newer reconciler; "
    "`reconciler retry --reason request_rejected` lets one order through.",
    Reason.HOST_SUSPECT: "Many pictures of its host died at once: see whether the host is down; `reconciler retry "
    "--reason host_suspect` has them replaced.",
    Reason.IN_FLIGHT: "It is under way and goes on by itself.",
    Reason.UNKNOWN_PURCHASE: "The answer to an order was lost: look for its task in Kie's list, and settle it with "
    "`reconciler resolve`.",
    Reason.OVERDUE: "Its task still runs at Kie after kie.task_timeout; it is asked ever more slowly, and replaced "
    "once at most.",
    Reason.DOWNLOAD_FAILED: "Its picture could not be fetched: see whether the host answers.",
    Reason.STORAGE_FAILED: "The store failed: see what `reconciler check` says of it.",
    Reason.PROVIDER_FAILED: "Kie failed or ended its tasks without a picture.",
    Reason.CONTENT_REJECTED: "Kie refuses what the prompt asks for: write another image prompt into the row, or have "
    "all tried once more with `reconciler retry`.",
    Reason.IMAGE_REJECTED: "The pictures that came were damaged, blank or of the wrong size, or none could be had. One "
    "over 40 megapixels or 64 MB in the row is left as it is: put a smaller one in its place, or empty image_url to "
    "have one bought.",
    Reason.WRITE_CONFLICT: "Somebody else keeps changing the row or has it locked, or the database refuses it: "
    "`reconciler explain` tells which.",
    Reason.HOST_REFUSED: "Its picture lies where we may not ask: not https, a private address, or none of "
    "kie.file_hosts.",
    Reason.NO_PROMPT: "The row holds nothing that a picture could be asked for with: give it a title or an image "
    "prompt.",
    Reason.ATTEMPTS_SPENT: "All that budget.per_track and budget.attempts_per_track allow was bought: raise them, or "
    "grant one more with `reconciler retry`.",
    Reason.INVALID_ROW: "The row cannot be worked: an id or a field of the wrong kind.",
}


def gate_advice(name: GateName) -> str:
    """What to do about a closed gate."""
    match name:
        case GateName.RATE_LIMIT:
            return "It opens by itself. If it comes often, lower kie.purchase_limit."
        case GateName.CREDITS:
            return _TODO[Reason.OUT_OF_CREDITS]
        case GateName.KEY:
            return _TODO[Reason.UNAUTHORIZED]
        case GateName.BREAKER:
            return "Kie fails. It is tried again by itself, and purchases then come back step by step."
        case GateName.REQUEST_REJECTED:
            return _TODO[Reason.REQUEST_REJECTED]
        case GateName.MODEL_UNPROVEN:
            return _TODO[Reason.MODEL_UNPROVEN]
        case GateName.PAUSED:
            return _TODO[Reason.PAUSED]
        case _:  # pragma: no cover
            assert_never(name)
