"""How a true answer and a scripted one become what is sent."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

from reconciler.kie.simulated.behaviour import Answer, AnswerPicture, Break, Face, NotFound, OmitTaskId, Refuse, Reply
from reconciler.kie.simulated.tasks import Task
from reconciler.kie.simulated.wire import Response, envelope, html_page


def refusal(refuse: Refuse) -> Response:
    return envelope(refuse.code, refuse.message, status=refuse.http_status)


def not_found(face: Face) -> Response:
    match face:
        case Face.JOBS:
            return envelope(422, "recordInfo is null")
        case Face.CODE_404:
            return envelope(404, "The requested resource does not exist")
        case Face.NULL_DATA:
            return envelope(200, "success")
        case Face.NO_RECORD:
            return envelope(422, "The record does not exist")
        case Face.CODE_500:
            return envelope(500, "record not found")
        case _ as unreachable:
            assert_never(unreachable)


def dressed(truth: Callable[[], Response], scripted: Answer | None) -> Response:
    """The scripted answer to a call that changes nothing; the true one where the script has nothing to say."""
    match scripted:
        case None | OmitTaskId() | AnswerPicture():
            return truth()
        case Refuse():
            return refusal(scripted)
        case Reply(status, body, content_type):
            return Response(status, {"content-type": content_type}, body)
        case Break(fault):
            return replace(truth(), fault=fault)
        case NotFound(face):
            return not_found(face)
        case _ as unreachable:
            assert_never(unreachable)


def carries_out(scripted: Answer | None) -> bool:
    """Whether a creation answered like this is carried out at all."""
    match scripted:
        case None | AnswerPicture():
            return True
        case Reply(done=done) | Break(done=done) | OmitTaskId(made=done):
            return done
        case Refuse() | NotFound():
            return False
        case _ as unreachable:
            assert_never(unreachable)


def created(made: Task | Refuse | None, urls: Sequence[str], scripted: Answer | None) -> Response:
    """The answer to a creation: `made` is None when it was not carried out."""
    return dressed(lambda: _created(made, urls, scripted), scripted)


def _created(made: Task | Refuse | None, urls: Sequence[str], scripted: Answer | None) -> Response:
    match made, scripted:
        case Refuse() as refuse, _:
            return refusal(refuse)
        case _, OmitTaskId():
            return envelope(200, "success", {})
        case None, _:
            return html_page(502)
        case Task(task_id=task_id), AnswerPicture(with_task_id):
            ids = {"taskId": task_id, "recordId": task_id} if with_task_id else {}
            return envelope(200, "success", {**ids, "response": {"imageUrl": urls[0]}})
        case Task(task_id=task_id), _:
            return envelope(200, "success", {"taskId": task_id, "recordId": task_id})
