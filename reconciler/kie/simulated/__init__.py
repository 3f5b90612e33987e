"""A simulated Kie.ai: for the demo, the tests, and everybody who wants to try a configuration without paying.

In process, with a clock by hand::

    kie = SimulatedKie(clock, seed=1, settings=Settings(credits=100))
    kie.script.when(Succeed(width=1024, height=576), prompt_contains="lake")    # an outcome: what becomes of tasks
    kie.script.next("create", LOST, page(502), TOO_FREQUENT)                    # answers: how the next calls end
    kie.script.outage(noon, one_o_clock, MAINTENANCE)                           # every API call within the window
    kie.script.when(LOST, operation="create", chance=0.3)                       # some of the calls, by the seed
    kie.script.when(UNTOLD, prompt_contains="lake")                             # no callback for these tasks
    kie.add_task("5b1f…", prompt="Mist", behaviour=Stall())                     # somebody else's task
    kie.add_song("9c0e…", Song(cover=GOOD_COVER))
    response = kie.handle(Request("POST", "/api/v1/jobs/createTask", headers={"authorization": f"Bearer {API_KEY}"}, …))
    for callback in kie.due_callbacks():                                        # of tasks that name a callBackUrl
        kie.answered(callback, 503)                                             # it comes again after a while
    kie.book.purchases_for("lake")                                              # the referee

Over HTTP on loopback (`with KieServer(kie) as server: server.base_url`), or by `python -m reconciler.kie.simulated`.
Task ids, sizes and run times depend on the seed and the prompt alone. The core never sleeps: a task that runs for 20 s
is `waiting` until the clock says so. Faults are only told by the core (`Response.fault`); the server makes them real.

Files: `belongs_to(picture, prompt)` tells whether a picture, fitted and re-encoded or not, was painted for a prompt.
"""

from reconciler.kie.simulated.behaviour import (
    CONTENT_REFUSED,
    CONTENT_REFUSED_AT_ONCE,
    COPYRIGHT,
    DROPPED,
    FAILED_AT_ONCE,
    FEATURE_DISABLED,
    KEY_CAPPED,
    LOST,
    MAINTENANCE,
    NO_CREDITS,
    QUEUE_FULL,
    RATE_LIMITED,
    SENSITIVE_WORD,
    SERVER_ERROR,
    TASK_SERVER_ERROR,
    TOLD_TWICE,
    TOO_FREQUENT,
    UNAUTHORIZED,
    UNTOLD,
    UPSTREAM_OUTAGE,
    AnswerPicture,
    Break,
    Face,
    Fail,
    NotFound,
    Notify,
    OmitTaskId,
    Refuse,
    Reply,
    ResultForm,
    Stall,
    Succeed,
    page,
)
from reconciler.kie.simulated.book import Book, Creation, Money, Telling, Visit
from reconciler.kie.simulated.callbacks import NOBODY, Callback
from reconciler.kie.simulated.core import SimulatedKie
from reconciler.kie.simulated.painter import belongs_to, paint, signature
from reconciler.kie.simulated.rules import Operation, Rule, Script
from reconciler.kie.simulated.server import KieServer
from reconciler.kie.simulated.settings import API_KEY, Expired, IdPlace, Settings, TwoK
from reconciler.kie.simulated.songs import GOOD_COVER, LOST_SONG, Song
from reconciler.kie.simulated.stage import DEFAULT_MODEL
from reconciler.kie.simulated.wire import Fault, Request, Response

__all__ = [
    "API_KEY",
    "CONTENT_REFUSED",
    "CONTENT_REFUSED_AT_ONCE",
    "COPYRIGHT",
    "DEFAULT_MODEL",
    "DROPPED",
    "FAILED_AT_ONCE",
    "FEATURE_DISABLED",
    "GOOD_COVER",
    "KEY_CAPPED",
    "LOST",
    "LOST_SONG",
    "MAINTENANCE",
    "NOBODY",
    "NO_CREDITS",
    "QUEUE_FULL",
    "RATE_LIMITED",
    "SENSITIVE_WORD",
    "SERVER_ERROR",
    "TASK_SERVER_ERROR",
    "TOLD_TWICE",
    "TOO_FREQUENT",
    "UNAUTHORIZED",
    "UNTOLD",
    "UPSTREAM_OUTAGE",
    "AnswerPicture",
    "Book",
    "Break",
    "Callback",
    "Creation",
    "Expired",
    "Face",
    "Fail",
    "Fault",
    "IdPlace",
    "KieServer",
    "Money",
    "NotFound",
    "Notify",
    "OmitTaskId",
    "Operation",
    "Refuse",
    "Reply",
    "Request",
    "Response",
    "ResultForm",
    "Rule",
    "Script",
    "Settings",
    "SimulatedKie",
    "Song",
    "Stall",
    "Succeed",
    "Telling",
    "TwoK",
    "Visit",
    "belongs_to",
    "page",
    "paint",
    "signature",
]
