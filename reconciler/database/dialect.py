"""Expressions that engines spell differently; here as SQLite spells them."""

from typing import Any

from peewee import SQL, Case, Expression, fn

LONG = 2000
"""Characters. Longer pictures, and inline ones, are cut in SQL and told apart by length and SHA-256."""

HEAD = 100


def same(left: Any, right: Any) -> Any:
    """NULL equals NULL and nothing else."""
    return Expression(left, "IS", right)


def differ(left: Any, right: Any) -> Any:
    return Expression(left, "IS NOT", right)


def is_text(value: Any) -> Any:
    return fn.typeof(value) == "text"


def usable_id(value: Any) -> Any:
    """An id that can be named: a whole number, or a text that is not empty."""
    text = is_text(value) & (fn.reconciler_is_text(value.cast("BLOB")) == 1)
    return (fn.typeof(value) == "integer") | text


def bindable(value: object) -> bool:
    """It can be given back to the database: a text that is no UTF-8 cannot."""
    return not isinstance(value, str) or value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def as_text(value: Any) -> Any:
    return value.cast("TEXT")


def capped(value: Any, length: int) -> Any:
    """The text's first characters; NULL for NULL, an empty blob for what is no text."""
    wrong = Case(None, [(value.is_null(), None)], SQL("x''"))
    return Case(None, [(is_text(value), fn.substr(value, 1, length))], wrong)


def is_long(image: Any) -> Any:
    return (fn.length(image) > LONG) | (fn.lower(fn.substr(image, 1, 5)) == "data:")


def shown(image: Any) -> Any:
    """What is read of a picture's text at first, as bytes."""
    return Case(None, [(is_long(image), fn.substr(image, 1, HEAD))], image).cast("BLOB")


def digest(value: Any) -> Any:
    return fn.reconciler_sha256(value.cast("BLOB"))


def identity(image: Any) -> Any:
    """`Cell.identity` in SQL."""
    summary = fn.length(image).concat(":").concat(digest(image))
    return Case(None, [(image.is_null() | ~is_text(image), ""), (is_long(image), summary)], image)


def least(left: Any, right: Any) -> Any:
    """NULL where one of them is."""
    return fn.min(left, right)


def instant(value: Any) -> Any:
    """A time of the app's in the form of our own tables, or NULL."""
    return fn.reconciler_instant(value.cast("BLOB"))


def timestamp(value: Any) -> Any:
    """A time of the app's as it is, cut to what a time can need."""
    return Case(None, [(is_text(value), fn.substr(value, 1, 64)), (fn.typeof(value) == "blob", None)], value)


def first_nulls(value: Any) -> Any:
    return value.asc(nulls="FIRST")
