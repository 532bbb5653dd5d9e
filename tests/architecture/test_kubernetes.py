"""The manifests start the parts of the Procfile, with known settings, ports and probes."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler_service import settings
from scheduler_service.process.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
PROCFILE = read_procfile(ROOT / "Procfile")
DEPLOYED = {"web", "worker", "beat", "flower"}
PORTS = {"web": settings.PORT, "flower": settings.FLOWER_PORT}


@cache
def documents() -> list[dict[str, Any]]:
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [
        document
        for name in names
        for document in yaml.safe_load_all((MANIFESTS / name).read_text())
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"].removeprefix("scheduler-"): document
        for document in documents()
        if document["kind"] == kind
    }


def pods() -> dict[str, dict[str, Any]]:
    owners = of_kind("Deployment") | of_kind("Job")
    return {name: each["spec"]["template"]["spec"] for name, each in owners.items()}


def container(name: str) -> dict[str, Any]:
    [found] = pods()[name]["containers"]
    return dict(found)


def config() -> dict[str, str]:
    return dict(of_kind("ConfigMap")["settings"]["data"])


def command_of_the_procfile(name: str) -> list[str]:
    words = shlex.split(PROCFILE[name])
    return words[: words.index("-n")] if "-n" in words else words


def test_every_manifest_is_listed() -> None:
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]

    assert files == set(listed)


def test_what_is_deployed() -> None:
    assert of_kind("Deployment").keys() == DEPLOYED
    assert of_kind("Job").keys() == {"migrate"}


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_a_deployment_starts_a_part_as_the_procfile_does(name: str) -> None:
    assert container(name)["command"] == command_of_the_procfile(name)


def test_the_job_migrates() -> None:
    assert container("migrate")["command"][:3] == ["python", "manage.py", "migrate"]
    assert pods()["migrate"]["restartPolicy"] == "Never"


def test_every_setting_is_known_to_the_code() -> None:
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    secrets = set(re.findall(r"^([A-Z_]+)=", page, re.MULTILINE))

    assert config().keys() | secrets <= settings.KNOWN_VARIABLES
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} <= secrets
    assert not config().keys() & secrets


@pytest.mark.parametrize("name", sorted({*DEPLOYED, "migrate"}))
def test_a_pod_reads_the_settings_and_the_secrets(name: str) -> None:
    assert container(name)["envFrom"] == [
        {"configMapRef": {"name": "scheduler-settings"}},
        {"secretRef": {"name": "scheduler-secrets"}},
    ]


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_a_probe_asks_where_the_part_answers(name: str) -> None:
    [port] = container(name)["ports"]
    paths = {
        kind: probe["httpGet"]["path"]
        for kind, probe in container(name).items()
        if kind.endswith("Probe") and probe["httpGet"]["port"] == port["name"]
    }

    assert port["containerPort"] == PORTS.get(name, int(config()["METRICS_PORT"]))
    alive = "/healthcheck" if name == "flower" else "/healthz"
    ready = {"readinessProbe": "/readyz"} if name == "web" else {}
    assert paths == {"startupProbe": alive, "livenessProbe": alive} | ready


@pytest.mark.parametrize("name", ["web", "flower"])
def test_a_service_leads_to_its_deployment(name: str) -> None:
    spec = of_kind("Service")[name]["spec"]

    assert (
        spec["selector"]
        == of_kind("Deployment")[name]["spec"]["selector"]["matchLabels"]
    )
    assert [(p["port"], p["targetPort"]) for p in spec["ports"]] == [
        (PORTS[name], "http")
    ]


def test_only_web_is_published() -> None:
    [rule] = of_kind("Ingress")["scheduler"]["spec"]["rules"]
    backends = [path["backend"]["service"]["name"] for path in rule["http"]["paths"]]

    assert backends == ["scheduler-web"]
    assert rule["host"] in config()["ALLOWED_HOSTS"].split(",")


def test_the_ingress_takes_as_much_as_web() -> None:
    annotations = of_kind("Ingress")["scheduler"]["metadata"]["annotations"]
    size = annotations["nginx.ingress.kubernetes.io/proxy-body-size"]

    maximum = int(size.removesuffix("m")) * 1024 * 1024
    assert maximum > settings.SCHEDULER_MAX_BULK_BYTES


@pytest.mark.parametrize("name", sorted({*DEPLOYED, "migrate"}))
def test_a_pod_has_few_rights(name: str) -> None:
    pod, rights = pods()[name], container(name)["securityContext"]
    [user] = re.findall(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("name", sorted({*DEPLOYED, "migrate"}))
def test_a_pod_has_time_to_stop_and_no_variables_of_services(name: str) -> None:
    pod = pods()[name]

    assert pod["terminationGracePeriodSeconds"] >= 60
    assert not pod["enableServiceLinks"]
    assert container(name)["resources"]["limits"].keys() == {"memory"}


def test_several_webs_workers_and_beats_run() -> None:
    replicas = {
        name: each["spec"]["replicas"] for name, each in of_kind("Deployment").items()
    }

    assert replicas == {"web": 2, "worker": 2, "beat": 2, "flower": 1}
