"""What each state means, for people."""

from collections.abc import Mapping

from reconciler.domain.states import State

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
