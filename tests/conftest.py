"""Properties are tried without a deadline, since the machine may be busy, and always the same ones in CI."""

import gc
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import settings
from typer.main import get_command

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


gc.disable()  # until all tests are collected: they stay


def pytest_collection_finish() -> None:
    """Garbage is not looked for among them, again and again."""
    gc.freeze()
    gc.enable()


PROVING = ("promises", "hostile", "faults")


def is_untraced(item: pytest.Item) -> bool:
    """Lines are counted while quick tests of one room each run, and by those against a server, since no others run what
    speaks to it: tracing doubles the time of those that prove more than lines. What chance reaches counts for none."""
    marks = {mark.name for mark in item.iter_markers()}
    proves = item.path.parent.name in PROVING or marks & {"slow", "untraced", "hypothesis"}
    return bool(proves) and "server" not in marks


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Nor are those of processes that are started, nor what makes ready for such a test."""
    if not is_untraced(item):
        return (yield)
    traces = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
            return (yield)
    finally:
        sys.settrace(traces[0])
        threading.settrace(traces[1])


@pytest.fixture(scope="session", autouse=True)
def _quick_to_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reading all authorities of the web takes longer than a run, and compiling the program as long as importing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setattr("sysconfig.get_path", cache(sysconfig.get_path))  # asked for forty times by each sink of loguru
        patch.setattr("typer.testing._get_command", cache(get_command))  # each call would build all commands anew
        yield
