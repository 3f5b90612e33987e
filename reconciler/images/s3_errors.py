"""What an S3 server's answers mean, told without anything that was sent: no key, no signature, no signed address."""

import re
from dataclasses import dataclass
from enum import StrEnum

_CODE = re.compile(r"<Code>\s*([A-Za-z.]{1,60})\s*</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_NAME = re.compile(r'^ +path: (".*"),$', re.MULTILINE)
_NOWHERE = "Received redirect without LOCATION"
"""So obstore tells PermanentRedirect, and nothing of the answer."""
_LATER = "it is tried again by itself"


class Outcome(StrEnum):
    """The outcome of one request; the words of `storage_requests_total`."""

    OK = "ok"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    MALFORMED = "malformed"


class Operation(StrEnum):
    PUT = "put"
    GET = "get"
    LIST = "list"


_PASSING = frozenset({Outcome.RATE_LIMITED, Outcome.SERVER_ERROR, Outcome.TIMEOUT, Outcome.CONNECT_ERROR})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request came to nothing. `code`: the server's own word for it, such as NoSuchKey."""

    outcome: Outcome
    said: str
    todo: str
    code: str = ""

    @property
    def passes(self) -> bool:
        """The same request may do better a little later."""
        return self.outcome in _PASSING

    def may_end(self, *, was_well: bool) -> bool:
        """A later start may do better though nobody has done anything. A clock is set right by itself; and where a
        bucket `was_well` before, what is not said in S3's words is not said by its server."""
        return self.passes or self.code == _CLOCK or (was_well and not self.code)


IN_TIME = Failure(Outcome.TIMEOUT, "no answer in time", _LATER)
_CLOCK = "RequestTimeTooSkewed"
_REGION = (Outcome.REJECTED, "the bucket is in another region", "check storage.region and storage.endpoint")
_BY_CODE = {
    "NoSuchKey": (Outcome.NOT_FOUND, "there is no such file", "put it back from a backup"),
    "NoSuchBucket": (Outcome.NOT_FOUND, "there is no such bucket", "create it, or set storage.bucket right"),
    "InvalidAccessKeyId": (Outcome.UNAUTHORIZED, "the access key is not known", "set storage.access_key right"),
    "SignatureDoesNotMatch": (
        Outcome.UNAUTHORIZED,
        "the signature does not match",
        "set storage.secret_key (or the credential storage_secret_key) and storage.region right",
    ),
    "AccessDenied": (
        Outcome.UNAUTHORIZED,
        "access is denied",
        "let the owner of storage.access_key read, write and list in the bucket",
    ),
    _CLOCK: (Outcome.UNAUTHORIZED, "this machine's clock is wrong", "set it right"),
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "EntityTooLarge": (Outcome.REJECTED, "the file is too large for the bucket", "raise the bucket's limit"),
    "InvalidMimeType": (
        Outcome.REJECTED,
        "the bucket does not take files of this kind",
        "let it take image/jpeg, image/png, image/webp and application/json",
    ),
}
"""The words of S3, and InvalidMimeType of Supabase."""

_CONNECTING = {
    "Connection refused": ("nothing listens there", "check storage.endpoint"),
    "dns error": ("its host is not known", "check storage.endpoint"),
    "InvalidCertificate": ("its certificate is not accepted", "check storage.endpoint and that certificate"),
}


def failure_of(error: Exception) -> Failure:
    """What obstore raised. It has a class for few of the reasons; the others are told by its text alone."""
    text = str(error)
    if type(error).__name__ == "InvalidPathError":  # only a listing can bring names that are not ours
        todo = "remove that file, whose name has an empty part, dots alone or a control character"
        return Failure(Outcome.MALFORMED, f"the name {_found(_NAME, text)} there cannot be read", todo)
    code, status = _found(_CODE, text), int(_found(_STATUS, text) or 0)
    if _NOWHERE in text:
        code = "PermanentRedirect"
    if code in _BY_CODE:
        return Failure(*_BY_CODE[code], code)
    if status:
        return _by_status(status, code)
    if "TimedOut" in text or "kind: Timeout" in text:
        return IN_TIME
    if "kind: Connect" in text:
        said, todo = next(
            (each for word, each in _CONNECTING.items() if word in text), ("it cannot be reached", _LATER)
        )
        return Failure(Outcome.CONNECT_ERROR, said, todo)
    if "kind: Interrupted" in text or "kind: Request" in text:
        return Failure(Outcome.CONNECT_ERROR, "the connection broke", _LATER)
    said = f"an answer that is not understood ({type(error).__name__})"
    return Failure(Outcome.MALFORMED, said, "see whether storage.endpoint is the address of an S3 server")


def _by_status(status: int, code: str) -> Failure:
    said = f"it answered {status}{' ' if code else ''}{code}"
    match status:
        case 401 | 403:
            todo = "check storage.access_key, storage.secret_key and what their owner may do in the bucket"
            return Failure(Outcome.UNAUTHORIZED, said, todo, code)
        case 408:
            return Failure(Outcome.TIMEOUT, said, _LATER, code)
        case 429:
            return Failure(Outcome.RATE_LIMITED, said, _LATER, code)
        case _ if status >= 500 and status != 501:
            outcome = Outcome.RATE_LIMITED if code == "SlowDown" else Outcome.SERVER_ERROR
            return Failure(outcome, said, _LATER, code)
        case _:
            todo = "check storage.endpoint, storage.bucket and storage.region"
            return Failure(Outcome.NOT_FOUND if status == 404 else Outcome.REJECTED, said, todo, code)


def _found(form: re.Pattern[str], text: str) -> str:
    match = form.search(text)
    return match[1] if match else ""
