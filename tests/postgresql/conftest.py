"""A real server, of two versions, and a real pooler."""

from pathlib import Path

import pytest

from tests.postgres import bouncer, hasty, postgres, postgres15

__all__ = ["bouncer", "hasty", "postgres", "postgres15"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("server")
