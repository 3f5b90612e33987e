"""Records with other values."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


def altered(record: R, **values: Any) -> R:
    """The record itself where nothing differs: most looks find what was known, and a copy costs more than a look."""
    different = {name: value for name, value in values.items() if value != getattr(record, name)}
    return replace(record, **different) if different else record
