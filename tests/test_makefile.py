"""`make install` with a Python that only pretends: when the environment is made anew, and what is called ready."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """\
#!/bin/sh
case "$*" in
    *print*) echo .venv/lib/python{version}/site-packages ;;
    "-m venv "*)
        case "$*" in *--clear*) rm -rf .venv ;; esac
        mkdir -p .venv/bin .venv/lib/python{version}/site-packages
        cp "$0" .venv/bin/python
        printf '#!/bin/sh\\n# %s\\n' "$PWD/.venv/bin/python" > .venv/bin/reconciler
        chmod +x .venv/bin/reconciler ;;
esac
"""
"""Of a version; what is told it by other arguments goes well. The program names it, as those do that pip installs."""


def python(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PYTHON.format(version=version), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Installed with 3.11, which `python3` is."""
    made = tmp_path / "project"
    made.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, made)
    python(tmp_path / "bin" / "python3", "3.11")
    assert install(made).returncode == 0
    return made


def install(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    environ = clean | {"PATH": f"{project.parent}/bin:{clean['PATH']}"}
    command = ["make", "install", *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)


def built_for(project: Path) -> list[str]:
    return [path.name for path in (project / ".venv" / "lib").iterdir()]


def test_what_is_there_and_fits_is_left_as_it_is(project: Path) -> None:
    assert install(project).stdout == "Ready: .venv/bin/reconciler\n"
    (project / "requirements.lock").touch()
    assert install(project).stdout == "Installing the locked requirements\nReady: .venv/bin/reconciler\n"


def test_where_nothing_is_installed_yet_nothing_is_said_to_be_missing(project: Path) -> None:
    shutil.rmtree(project / ".venv")
    made = install(project)
    assert (made.stdout.splitlines()[0], made.stderr) == ("Making .venv", "")


def test_another_python_under_the_same_name_gets_an_environment_of_its_own(project: Path) -> None:
    """As after an upgrade of the distribution."""
    python(project / ".venv" / "bin" / "python", "3.13")
    python(project.parent / "bin" / "python3", "3.13")
    assert install(project).stdout.startswith("Making .venv\n")
    assert built_for(project) == ["python3.13"]


@pytest.mark.parametrize("is_named", [False, True])
def test_an_environment_whose_python_is_gone_is_made_anew(project: Path, is_named: bool) -> None:
    (project / ".venv" / "bin" / "python").unlink()
    named = [f"PYTHON={project.parent}/bin/python3"] if is_named else []
    assert install(project, *named).stdout.startswith("Making .venv\n")


def test_a_checkout_that_was_copied_or_moved_does_not_run_the_program_at_its_old_place(project: Path) -> None:
    for new in (project.parent / "copied", project.parent / "moved"):
        shutil.copytree(project, new) if new.name == "copied" else project.rename(new)
        assert install(new).stdout.startswith("Making .venv\n")
        assert install(new).stdout == "Ready: .venv/bin/reconciler\n"


@pytest.mark.parametrize("by", ["project", "another"], ids=["its own", "another's"])
def test_an_environment_that_is_linked_is_left_as_it_is(project: Path, by: str) -> None:
    environment = (project / ".venv").rename(project.parent / "environment")
    if by == "another":
        shutil.copytree(project, project.parent / by)
        environment = environment.rename(project / ".venv")
    (project.parent / by / ".venv").symlink_to(environment)
    assert install(project.parent / by).stdout == "Ready: .venv/bin/reconciler\n"


def test_an_environment_without_pip_is_made_anew(project: Path) -> None:
    """What Debian leaves that lacks python3-venv, which is installed then."""
    (project / ".venv" / ".program").unlink()
    lacking = PYTHON.format(version="3.11").removesuffix("esac\n") + '    "-m pip "*) exit 1 ;;\nesac\n'
    (project / ".venv" / "bin" / "python").write_text(lacking, encoding="utf-8")
    assert install(project).stdout.startswith("Making .venv\n")


def test_a_python_that_is_asked_for_is_taken(project: Path) -> None:
    other = python(project.parent / "other", "3.12")
    assert install(project, f"PYTHON={other}").stdout.startswith("Making .venv\n")
    assert built_for(project) == ["python3.12"]
    assert install(project).stdout == "Ready: .venv/bin/reconciler\n", "once made, it need not be asked for again"


def test_a_program_that_does_not_start_is_not_called_ready(project: Path) -> None:
    with (project / ".venv" / "bin" / "reconciler").open("a", encoding="utf-8") as program:
        program.write("exit 1\n")
    ended = install(project)
    assert ended.returncode != 0
    assert "Ready" not in ended.stdout
