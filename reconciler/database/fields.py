"""Kinds of values in our own tables."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from peewee import TextField

from reconciler.database import datetimes


class InstantField(TextField):
    """Aware UTC; on SQLite a text of fixed width, so that texts sort as times do."""

    field_type = "INSTANT"

    def db_value(self, value: datetime | None) -> str | None:
        return None if value is None else datetimes.own(value)

    def python_value(self, value: object) -> datetime | None:
        return datetimes.from_own(value)


class WordField(TextField):
    """One word of an enum."""

    def __init__(self, words: type[StrEnum], **options: Any) -> None:
        super().__init__(**options)
        self.words = words

    def db_value(self, value: str | None) -> str | None:
        return None if value is None else str(value)

    def python_value(self, value: str | None) -> StrEnum | None:
        return None if value is None else self.words(value)


class ListField(TextField):
    """A tuple of texts, as JSON."""

    def db_value(self, value: tuple[str, ...] | None) -> str | None:
        return None if value is None else json.dumps(value)

    def python_value(self, value: str | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(json.loads(value))
