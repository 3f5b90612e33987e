"""The simulated Kie without sockets: what its server does to a connection, as the transport would tell it."""

from urllib.parse import parse_qsl, urlsplit

from reconciler.kie.simulated.core import SimulatedKie
from reconciler.kie.simulated.wire import Fault
from reconciler.kie.simulated.wire import Request as Asked
from reconciler.transport import Broken, Handler, Reply, Request, TimedOut


def handler_for(simulated: SimulatedKie) -> Handler:
    """A transport's `handler`. Result URLs keep their hosts; a drip or a hang counts as a passed deadline."""

    def handle(request: Request) -> Reply:
        parts = urlsplit(request.url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, parts.path, query, headers, request.body or b"", parts.netloc)
        answer = simulated.handle(asked)
        match answer.fault:
            case None:
                sizes = {"content-length": str(len(answer.body))}
                given = {name.lower(): value for name, value in answer.headers.items()}
                body = b"" if request.method == "HEAD" else answer.body
                return Reply(answer.status, sizes | given, body, complete=True)
            case Fault.CUT:
                raise Broken(f"{parts.hostname}: connection reset")
            case Fault.CUT_HALF:
                raise Broken(f"{parts.hostname}: the body ended before its length")
            case Fault.DRIP | Fault.HANG:
                raise TimedOut(f"{parts.hostname}: the deadline passed")

    return handle
