"""What Helm makes of the charts, for the tests of their parts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler_service.process.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "charts"
CELL, DOOR = CHARTS / "scheduler-cell", CHARTS / "scheduler-door"
PAGE = ROOT / "docs" / "how-to" / "kubernetes.md"
PROCFILE = read_procfile(ROOT / "Procfile")
EVERYTHING = ("worker.keda.enabled=true", "podMonitor.enabled=true")
# What the operators bring along.
WITHOUT_SERVERS = ("postgres.enabled=false", "redis.enabled=false")
needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None, reason="helm is on PyPI for Linux on x86-64 only"
)

Documents = list[dict[str, Any]]


@cache
def render(
    *values: str, chart: Path = CELL, release: str = "cell-1", upgrade: bool = False
) -> Documents:
    options = [word for value in values for word in ("--set", value)]
    options += ["--is-upgrade"] if upgrade else []
    rendered = subprocess.run(
        ["helm", "template", release, chart, "--namespace", "scheduler", *options],
        check=True,
        capture_output=True,
        text=True,
    )
    return [each for each in yaml.safe_load_all(rendered.stdout) if each]


def of_kind(
    kind: str, *values: str, upgrade: bool = False
) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"].removeprefix("cell-1-"): document
        for document in render(*values, upgrade=upgrade)
        if document["kind"] == kind
    }


def pods() -> dict[str, dict[str, Any]]:
    owners = of_kind("Deployment") | of_kind("Job")
    return {name: each["spec"]["template"]["spec"] for name, each in owners.items()}


def door() -> dict[str, dict[str, Any]]:
    return {
        f"{each['kind']} {each['metadata']['name']}": each
        for each in render(chart=DOOR, release="door")
    }


def policy_ports(rule: dict[str, Any]) -> set[int]:
    return {each["port"] for each in rule.get("ports", ())}


def container(name: str) -> dict[str, Any]:
    [found] = pods()[name]["containers"]
    return dict(found)


def config(*values: str) -> dict[str, str]:
    return dict(of_kind("ConfigMap", *values)["settings"]["data"])


def secrets_of_the_page() -> set[str]:
    page = PAGE.read_text(encoding="utf-8")
    return set(re.findall(r"^([A-Z_]+)=", page, re.MULTILINE))


def command_of_the_procfile(name: str) -> list[str]:
    words = shlex.split(PROCFILE[name])
    return words[: words.index("-n")] if "-n" in words else words
