"""Dashboard, alerts and docs speak of the metrics that there are, and of no others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from accounts.throttling import CredentialKind

ROOT = Path(__file__).resolve().parents[2]
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
RUNBOOK = "docs/how-to/alerts.md"
NAME = re.compile(r"\bscheduler_[a-z_]+")


def known_metrics() -> set[str]:
    """Names as the code writes them, in full."""
    sources = [*(ROOT / "tasks_api").rglob("*.py")]
    quoted = (re.findall(r'"(scheduler_[a-z_]+)"', p.read_text()) for p in sources)
    return {name for names in quoted for name in names}


def metric(name: str) -> str:
    """A histogram goes by one name, and is read by three."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def named_metrics(text: str) -> set[str]:
    return {metric(name) for name in NAME.findall(text)}


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(
        (ROOT / "deploy" / "monitoring" / "prometheus-alerts.yml").read_text()
    )
    return [rule for group in rules["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (ROOT / "deploy/monitoring/grafana-dashboard.json").read_text()
    )
    return found


def expressions() -> list[str]:
    return [
        target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]
    ]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    assert named_metrics(" ".join(expressions())) == known_metrics()


def test_the_alerts_name_metrics_that_exist() -> None:
    assert named_metrics(" ".join(rule["expr"] for rule in alerts())) <= known_metrics()


def test_the_alerts_watch_every_kind_of_credential() -> None:
    said = " ".join(rule["expr"] for rule in alerts())
    watched = re.findall(r'credential=~?"([a-z|]+)"', said)

    assert {CredentialKind(name) for names in watched for name in names.split("|")} == {
        *CredentialKind
    } - {CredentialKind.NOTHING}


def test_every_metric_is_documented() -> None:
    rows = [line for line in METRICS.splitlines() if line.startswith("| `scheduler_")]

    assert named_metrics(" ".join(row.split("|")[1] for row in rows)) == known_metrics()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_runbook(rule: dict[str, Any]) -> None:
    assert f"\n### {rule['alert']}\n" in (ROOT / RUNBOOK).read_text(encoding="utf-8")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (page, anchor) == (RUNBOOK, rule["alert"].lower())
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + dx, place["y"] + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_parts_that_are_composed_are_probed() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    for kind in ("worker", "beat"):
        test = services[kind]["healthcheck"]["test"]
        assert test == ["CMD", "python", "manage.py", "probe", kind]


def test_prometheus_can_read_the_alerts() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("There is no promtool on this machine.")

    done = subprocess.run(
        [
            promtool,
            "check",
            "rules",
            ROOT / "deploy" / "monitoring" / "prometheus-alerts.yml",
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr
