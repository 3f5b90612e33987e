"""What befalls the ways to Kie, to file hosts, to PostgreSQL and to an S3 server: each fault, each way.

The whole job meets it for a while. It says what is wrong, concludes nothing from it, buys nothing twice but the one
repeat of an order whose answer was lost, and does all there is to do once the fault is over.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.wired import Wired, wired
from tests.postgres import postgres

__all__ = ["postgres"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Wired]:
    with wired(tmp_path) as made:
        yield made
