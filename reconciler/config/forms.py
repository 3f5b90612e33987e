"""The forms that texts in settings must have. The errors say the form, never the value."""

import re
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from reconciler.domain.urls import host_of, is_address, is_loopback

_NAME = r"[^\W\d][\w$]*"
_PLAIN = r"(?:[^\s@:/?#%\[\]]|%[0-9A-Fa-f]{2})"
_HOST = r"(?:(?:%2[fF]|[A-Za-z0-9._-])+|\[[0-9A-Fa-f:.]+\])(?::\d+)?"
_POSTGRES = re.compile(
    rf"postgres(?:ql)?://(?:{_PLAIN}*(?::{_PLAIN}*)?@)?"
    rf"(?:{_HOST}(?:,{_HOST})*|(?=/[^?]+\?(?:.*&)?host=))/[^\s/?#]+(?:\?[^\s#]*)?"
)
"""A password with a bare @ or / in it would be read as a part of the address, and shown."""
_LABELS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def without_nul(value: Any) -> Any:
    """Neither files nor databases nor addresses can be named by a text with one in it."""
    if any("\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
        raise ValueError("must hold no NUL (\\u0000)")
    return value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _column(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError("must be a name of letters, digits and _")
    return name


def _table(name: str) -> str:
    if not re.fullmatch(rf"{_NAME}(\.{_NAME})?", name):
        raise ValueError("must be a table's name, or schema.table, of letters, digits and _")
    return name


def _suffix(host: str) -> str:
    """A domain; or this machine, since a local simulator's files die too."""
    domain = _LABELS.fullmatch(host) and "." in host and not is_address(host)
    if not (domain or is_loopback(host)):
        raise ValueError(
            'must hold bare domains in lower case, such as "kie.ai": no scheme, port, path, * or leading dot'
        )
    return host


def _host(host: str) -> str:
    if not (_LABELS.fullmatch(host) or is_address(host)):
        raise ValueError('must hold bare hosts, such as "127.0.0.1" or "localhost": no scheme, port or path')
    return host


def _web_url(url: str) -> str:
    """Scheme and host in lower case, without a slash at the end."""
    parts = urlsplit(url) if host_of(url) else None
    if parts is None or parts.scheme not in {"http", "https"} or not url.isprintable() or " " in url:
        raise ValueError("must be an http or https URL with a host")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("must have nothing after its path, neither ? nor #")
    if "@" in parts.netloc:
        raise ValueError("must have no user or password in it")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}".rstrip("/")


def _optional_web_url(url: str) -> str:
    return _web_url(url) if url else url


def _endpoint(url: str) -> str:
    """What asks there ends the program at any other."""
    url = _optional_web_url(url)
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@%/\[\]-]*", url):
        raise ValueError("must be plain ASCII: a host beyond it in its xn-- form, other letters of the path as %xx")
    host = host_of(url)
    if host.rpartition(".")[2].isdigit() and not is_address(host):
        raise ValueError("must have a name or an address as its host, not what ends in a number and is neither")
    return url


def _name(text: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9_-][A-Za-z0-9._-]*)?", text):
        raise ValueError(
            "must hold only letters from A to Z, digits, . _ - and begin with no dot: look for a blank or an "
            "invisible character at its ends"
        )
    return text


def _key(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]*", secret.get_secret_value()):
        raise ValueError("must be of visible ASCII only: look for a blank or an invisible character at its ends")
    return secret


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if text != text.strip() or not text.isprintable():
        raise ValueError("must hold no invisible character, nor a blank at its ends")
    return secret


def _can_be_taken_apart(url: str) -> bool:
    """By whatever reads it later, whose errors would quote it."""
    try:
        urlsplit(url)
        return b"\0" not in unquote(url, errors="strict").encode()
    except ValueError:
        return False


def _database_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    match url.partition("://")[0]:
        case "sqlite" if not re.fullmatch(r"sqlite:///[^?#]+", url) or url.endswith(("/", ":memory:")):
            raise ValueError("must name a file after sqlite:///, such as sqlite:///data/app.db, and have no ? or #")
        case "postgresql" | "postgres" if not (_POSTGRES.fullmatch(url) and _can_be_taken_apart(url)):
            raise ValueError(
                "must be of the form postgresql://user:password@host:5432/name, or postgresql://user@/name?host=/dir "
                "for a socket, with every @ : / ? # % in user and password written as %40 %3A %2F %3F %23 %25, "
                "every other letter that is no plain one in UTF-8, and no %00"
            )
        case "sqlite" | "postgresql" | "postgres":
            return secret
        case _:
            raise ValueError("must begin with sqlite:/// or postgresql://")


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Suffixes = Annotated[tuple[Annotated[str, AfterValidator(_suffix)], ...], BeforeValidator(_tuple)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_tuple)]
Column = Annotated[str, AfterValidator(_column)]
Table = Annotated[str, AfterValidator(_table)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
OptionalWebUrl = Annotated[str, AfterValidator(_optional_web_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Name = Annotated[str, AfterValidator(_name)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
ApiKey = Annotated[SecretStr, AfterValidator(_key)]
"""Or none, as an empty text."""
Secret = Annotated[SecretStr, AfterValidator(_secret)]
"""Chosen by people, who may take any letter."""
