"""The project's own files: what may be in them, and what may not."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import reconciler

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def project() -> dict[str, str]:
    metadata: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return metadata


def test_the_version_is_the_installed_one() -> None:
    assert version("reconciler") == reconciler.__version__


def test_no_private_key_is_tracked(tracked: list[Path]) -> None:
    assert not [path for path in tracked if b"PRIVATE " + b"KEY-----" in path.read_bytes()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_host_and_hashes_everything(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index|--find-links|@ ", text)
    requirements = [line for line in text.splitlines() if not line.startswith((" ", "#"))]
    assert requirements
    for line in requirements:
        assert re.fullmatch(r"[a-z0-9-]+==\S+ (; .+ )?\\", line), line
    assert text.count("--hash=sha256:") >= len(requirements)


def test_the_lock_for_development_agrees_with_that_for_running() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==[^ ]+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-dev.lock")


def test_every_dependency_is_locked() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    names = [re.match(r"[a-z0-9-]+", requirement) for requirement in project()["dependencies"]]
    assert [name[0] for name in names if name and f"\n{name[0]}==" not in f"\n{lock}"] == []


def test_no_lock_that_holds_hosts_is_kept(tracked: list[Path]) -> None:
    assert {path.name for path in tracked} & {"uv.lock", "pylock.toml"} == set()


def test_no_file_names_a_registry_host_or_this_checkout(tracked: list[Path]) -> None:
    index = importlib.import_module("pip._internal.models.index").PyPI
    words = [word.encode() for word in (index.netloc, index.file_storage_domain, f"{ROOT}/")]
    assert [str(path) for path in tracked if any(word in path.read_bytes() for word in words)] == []


def test_the_domain_reads_no_clock() -> None:
    """Imports are checked by import-linter; the clock hides in a class that the domain may import."""
    reads = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "reconciler" / "domain").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"now", "utcnow", "today"}
        and isinstance(node.value, ast.Name)
        and node.value.id in {"datetime", "date"}
    ]
    assert reads == []


def test_a_program_on_sqlite_does_not_load_what_it_does_not_use() -> None:
    """It takes longer than all of the program itself."""
    ask = "import sys, reconciler.app.daemon, reconciler.cli; print(*(name for name, it in sys.modules.items() if it))"
    loaded = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    whose = {name.partition(".")[0] for name in loaded}
    assert whose.isdisjoint({"psycopg", "psycopg_binary", "obstore", "rich", "jinja2", "markupsafe"})
    assert {"httpx._main", "reconciler.kie.simulated"}.isdisjoint(loaded)
