"""`python -m reconciler.kie.simulated`: what it is told wrong is named, before it listens."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kie.simulated.__main__ import main


@pytest.fixture(autouse=True)
def _does_not_serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that takes what is wrong ends at once."""
    monkeypatch.setattr(signal, "sigwait", lambda _: None)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "65536"], "argument --port: '65536' is no port from 0 to 65535"),
        (["--port", "-1"], "argument --port: '-1' is no port from 0 to 65535"),
        (["--port", "http"], "argument --port: 'http' is no port from 0 to 65535"),
        (["--credits", "nan"], "argument --credits: 'nan' is no number from 0 on"),
        (["--credits", "inf"], "argument --credits: 'inf' is no number from 0 on"),
        (["--credits", "-1"], "argument --credits: '-1' is no number from 0 on"),
        (["--credits", "many"], "argument --credits: 'many' is no number from 0 on"),
        (["--min-run", "nan"], "argument --min-run: 'nan' is no number of seconds from 0 on"),
        (["--min-run", "-3"], "argument --min-run: '-3' is no number of seconds from 0 on"),
        (["--max-run", "1e300"], "argument --max-run: '1e300' is no number of seconds from 0 on"),
        (["--max-run", "soon"], "argument --max-run: 'soon' is no number of seconds from 0 on"),
        (["--min-run", "5", "--max-run", "1"], "--min-run is more than --max-run"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(options, capsys) == said


RULE = {"behaviour": {"kind": "Refuse", "code": 455, "message": "no"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("[{", "Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (json.dumps({"behaviour": {"kind": "Nonsense"}}), "no rule: KeyError('Nonsense')"),
        (json.dumps([RULE, 5]), "no rule: TypeError(\"'int' object is not subscriptable\")"),
        (json.dumps(RULE | {"since": "soon"}), "no rule: ValueError(\"Invalid isoformat string: 'soon'\")"),
        (json.dumps({"behaviour": {"kind": "Succeed", "run": 1e300}}), "no rule: OverflowError("),
        (json.dumps({"behaviour": {"kind": "Reply", "body": 5}}), "no rule: TypeError("),
    ],
    ids=["no file", "no JSON", "no text", "an unknown kind", "no object", "no time", "too long", "no bytes"],
)
def test_rules_that_are_none_are_told(
    tmp_path: Path, content: str | bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.json"
    if content is not None:
        rules.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(["--rules", str(rules)], capsys).startswith(f"argument --rules: {rules}: {said}")


def refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of them."""
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    return told.err.splitlines()[-1].removeprefix("python -m reconciler.kie.simulated: error: ")
