"""The `check` command: everything a run rests on, looked at once; nothing is changed in the database."""

from collections.abc import Iterator

from reconciler.app.errors import AuthoritiesUnfit
from reconciler.app.outside import provider
from reconciler.commands.checking.database import check_database
from reconciler.commands.checking.lines import Line, failed, ok, unfit, warning
from reconciler.commands.checking.storage import check_storage
from reconciler.config import Settings, policy_of, without_key
from reconciler.domain.catalogue import MODELS
from reconciler.domain.findings import Call, Trouble
from reconciler.domain.urls import host_of, redact


def check(settings: Settings, *, offline: bool) -> Iterator[Line]:
    """Every line, whatever the others say."""
    yield ok("configuration", "read, and nothing in it contradicts itself")
    yield from _budget(settings)
    yield from _models(settings)
    known = yield from check_database(settings)
    yield from check_storage(settings, known)
    yield _kie(settings, offline=offline)


# -- configuration -------------------------------------------------------------------------------------------------


def _budget(settings: Settings) -> Iterator[Line]:
    for key in ("per_day", "per_hour", "per_track", "attempts_per_track"):
        if getattr(settings.budget, key) == 0:
            yield warning("budget", f"budget.{key} = 0: nothing is ever bought, only what exists is used")
    if settings.budget.per_hour > settings.budget.per_day > 0:
        yield warning("budget", "budget.per_hour is more than budget.per_day, so it limits nothing")


def _models(settings: Settings) -> Iterator[Line]:
    target = policy_of(settings).target
    for name in (settings.kie.model, *settings.kie.fallback_models):
        model = MODELS[name]
        said = f"{name}: {model.price:g} credits a picture"
        if model.reaches(target):
            yield ok("model", f"{said}, reaches {target.resolution}")
        else:
            yield warning("model", f"{said}, does not reach {target.resolution}")


# -- Kie -----------------------------------------------------------------------------------------------------------


def _kie(settings: Settings, *, offline: bool) -> Line:
    if not settings.kie.api_key.get_secret_value():
        return _without_key(settings, offline=offline)
    if offline:
        return ok("kie", "not asked (--offline)")
    try:
        with provider(settings) as outside:
            answer = outside.reader().credit()
    except AuthoritiesUnfit as error:
        return unfit("kie", f"not asked. {error}")
    host = host_of(settings.kie.base_url)
    if isinstance(answer, Trouble):
        return failed("kie", f"{host}: {answer.call}: {answer.detail}; {_what_helps(answer.call, settings)}")
    said = f"{host} takes the key; {answer.balance:g} credits"
    if answer.balance < settings.budget.min_credits:
        return warning(
            "kie", f"{said}, less than budget.min_credits = {settings.budget.min_credits:g}: nothing is bought"
        )
    return ok("kie", said)


def _what_helps(call: Call, settings: Settings) -> str:
    match call:
        case Call.UNAUTHORIZED:
            return "set kie.api_key or the credential kie_api_key to a valid key"
        case Call.NO_CREDITS:
            return "top up the account at Kie, or raise the key's own cap there"
        case Call.REJECTED | Call.MALFORMED:
            return f"see whether kie.base_url ({redact(settings.kie.base_url)}) is Kie's; if it is, try again later"
        case _:
            return "try again later"


def _without_key(settings: Settings, *, offline: bool) -> Line:
    if (problem := without_key(settings)) is not None:
        return warning("kie", str(problem)) if offline else unfit("kie", str(problem))
    songs = policy_of(settings).asks_songs
    asked = "music tasks alone are asked for, with kie.suno_api_key" if songs else "nothing is asked of Kie"
    return warning("kie", f"there is no key (kie.api_key): {asked}; what is in rows and in the store is used")
