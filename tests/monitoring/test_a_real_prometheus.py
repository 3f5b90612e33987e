"""A real Prometheus scrapes the running daemon and evaluates the rules that we ship."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from reconciler.service.metrics import described
from tests.cli.conftest import Install, installed
from tests.daemons import eventually, running, small
from tests.tools import debian_tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MONITORING = Path(__file__).parents[2] / "monitoring"


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def api(self, path: str) -> Any:
        with urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def is_up(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def value(self, expression: str) -> float | None:
        found = self.api(f"query?query={quote(expression)}")["result"]
        return float(found[0]["value"][1]) if found else None

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> dict[str, str]:
        """State by name, of those that are not quiet."""
        return {rule["name"]: rule["state"] for rule in self.rules() if rule.get("state", "inactive") != "inactive"}


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """With the configuration that we ship, but for the target and the pace."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "rules.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [
        *(debian_tool("prometheus", "usr/bin/prometheus"), f"--config.file={folder}/prometheus.yml"),
        *(f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Prometheus(port)
        eventually(lambda: found.is_up() or process.poll())
        assert process.poll() is None
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installed(tmp_path) as made:
        yield made


def test_it_scrapes_the_daemon_and_every_rule_is_evaluated(install: Install, tmp_path: Path) -> None:
    for number in range(3):
        install.add(f"t{number}")
    small(install)
    with running(install) as daemon, prometheus(tmp_path, daemon.url.removeprefix("http://")) as seen:
        eventually(lambda: seen.value('up{job="reconciler"}') == 1)
        eventually(lambda: seen.value('reconciler_tracks{state="ok"}') == 3)
        assert seen.value("sum(reconciler_tracks)") == 3
        assert seen.value('reconciler_tracks_resolved_total{how="generated"}') == 3
        known = set(seen.api("label/__name__/values"))
        assert [each.name for each in described() if not {each.name, f"{each.name}_count"} & known] == []
        eventually(lambda: all(rule["health"] == "ok" for rule in seen.rules()))
        shipped = yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))
        assert len(seen.rules()) == sum(len(group["rules"]) for group in shipped["groups"])
        eventually(lambda: seen.alerts() == {})
        daemon.stop()
        eventually(seen.alerts)
        assert set(seen.alerts()) == {"ReconcilerDown"}, "one cause, one alert"


def test_promtool_has_nothing_to_say_about_the_metrics(install: Install) -> None:
    promtool = debian_tool("prometheus", "usr/bin/promtool")
    install.add("t1")
    small(install)
    with running(install) as daemon:
        eventually(lambda: daemon.gauges().get("reconciler_tracks{state=ok}") == 1)
        metrics = daemon.get("/metrics")[1]
    done = subprocess.run([promtool, "check", "metrics"], input=metrics, check=False, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
