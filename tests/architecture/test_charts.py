"""The chart starts the parts of the Procfile, with known settings, ports and probes.

Helm renders it, and the schemas of Kubernetes judge what comes out. No cluster runs it here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import scheduler_service
from scheduler_service import settings
from scheduler_service.process.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "charts"
CELL, DOOR = CHARTS / "scheduler-cell", CHARTS / "scheduler-door"
PROCFILE = read_procfile(ROOT / "Procfile")
DEPLOYED = {"web", "worker", "beat", "flower"}
PORTS = {"web": settings.PORT, "flower": settings.FLOWER_PORT}
# Set where the chart runs what they lead to.
URLS = {"DATABASE_URL", "REDIS_URL"}
# Kinds of other projects, whose schemas are not among those of Kubernetes.
FOREIGN_KINDS = {"Cluster", "ScaledObject", "PodMonitor"}
EVERYTHING = ("worker.keda.enabled=true", "podMonitor.enabled=true")
# What the operators bring along.
WITHOUT_SERVERS = ("postgres.enabled=false", "redis.enabled=false")
NEEDS_HELM = pytest.mark.skipif(
    shutil.which("helm") is None, reason="helm is on PyPI for Linux on x86-64 only"
)

pytestmark = NEEDS_HELM

Documents = list[dict[str, Any]]


@cache
def render(*values: str, chart: Path = CELL, release: str = "cell-1") -> Documents:
    options = [word for value in values for word in ("--set", value)]
    rendered = subprocess.run(
        ["helm", "template", release, chart, "--namespace", "scheduler", *options],
        check=True,
        capture_output=True,
        text=True,
    )
    return [each for each in yaml.safe_load_all(rendered.stdout) if each]


def of_kind(kind: str, *values: str) -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"].removeprefix("cell-1-"): document
        for document in render(*values)
        if document["kind"] == kind
    }


def pods() -> dict[str, dict[str, Any]]:
    owners = of_kind("Deployment") | of_kind("Job")
    found = {name: each["spec"]["template"]["spec"] for name, each in owners.items()}
    del found["redis"]
    return found


def container(name: str) -> dict[str, Any]:
    [found] = pods()[name]["containers"]
    return dict(found)


def config(*values: str) -> dict[str, str]:
    return dict(of_kind("ConfigMap", *values)["settings"]["data"])


def secrets_of_the_page() -> set[str]:
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    return set(re.findall(r"^([A-Z_]+)=", page, re.MULTILINE))


def command_of_the_procfile(name: str) -> list[str]:
    words = shlex.split(PROCFILE[name])
    return words[: words.index("-n")] if "-n" in words else words


@pytest.mark.parametrize("values", [(), EVERYTHING, WITHOUT_SERVERS])
def test_what_is_rendered_fits_the_schemas_of_kubernetes(
    values: tuple[str, ...],
) -> None:
    for document in render(*values):
        if document["kind"] not in FOREIGN_KINDS:
            kubernetes_validate.validate(document, "1.30", strict=True)


@pytest.mark.parametrize("chart", [CELL, DOOR], ids=lambda chart: chart.name)
def test_a_chart_has_the_version_of_the_service(chart: Path) -> None:
    written = yaml.safe_load((chart / "Chart.yaml").read_text())

    assert written["version"] == scheduler_service.__version__
    assert written["appVersion"] == scheduler_service.__version__


def test_what_is_deployed() -> None:
    assert of_kind("Deployment").keys() == DEPLOYED | {"redis"}
    assert of_kind("Job").keys() == {"migrate"}
    assert of_kind("Cluster").keys() == {"postgres"}
    assert of_kind("Deployment", *WITHOUT_SERVERS).keys() == DEPLOYED
    assert not of_kind("Cluster", *WITHOUT_SERVERS)


@pytest.mark.parametrize("name", sorted(DEPLOYED))
def test_a_deployment_starts_a_part_as_the_procfile_does(name: str) -> None:
    assert container(name)["command"] == command_of_the_procfile(name)


def test_the_job_migrates() -> None:
    assert container("migrate")["command"][:3] == ["python", "manage.py", "migrate"]
    assert pods()["migrate"]["restartPolicy"] == "Never"


def test_the_schema_changes_before_new_pods_come() -> None:
    hooks = of_kind("Job")["migrate"]["metadata"]["annotations"]["helm.sh/hook"]

    assert hooks == "post-install,pre-upgrade"


def test_every_setting_is_known_to_the_code() -> None:
    secrets = secrets_of_the_page()

    assert config().keys() | secrets <= settings.KNOWN_VARIABLES
    assert {"SECRET_KEY", "METRICS_TOKEN"} <= secrets
    assert config()["SCHEDULER_CELL"] == "cell-1"
    assert not config().keys() & (secrets - URLS)


def test_a_setting_of_the_values_is_added() -> None:
    assert (
        config("settings.SCHEDULER_RETENTION_DAYS=3")["SCHEDULER_RETENTION_DAYS"] == "3"
    )


@pytest.mark.parametrize("name", sorted({*DEPLOYED, "migrate"}))
def test_a_pod_reads_the_settings_the_secrets_and_where_its_database_is(
    name: str,
) -> None:
    [database] = container(name)["env"]

    assert container(name)["envFrom"] == [
        {"configMapRef": {"name": "cell-1-settings"}},
        {"secretRef": {"name": "scheduler-secrets"}},
    ]
    assert database["name"] == "DATABASE_URL"
    # CloudNativePG makes this Secret for the cluster of that name.
    cluster = of_kind("Cluster")["postgres"]["metadata"]["name"]
    assert database["valueFrom"]["secretKeyRef"] == {
        "name": f"{cluster}-app",
        "key": "uri",
    }


def test_the_urls_of_other_servers_come_from_the_secret() -> None:
    assert "REDIS_URL" not in config(*WITHOUT_SERVERS)
    web = of_kind("Deployment", *WITHOUT_SERVERS)["web"]["spec"]["template"]["spec"]

    assert "env" not in web["containers"][0]


def test_a_commit_waits_for_a_standby() -> None:
    cluster = of_kind("Cluster")["postgres"]["spec"]

    assert cluster["instances"] == 3
    assert cluster["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
    }
    assert cluster["bootstrap"]["initdb"]["owner"] == "scheduler"


def test_redis_evicts_nothing() -> None:
    [redis] = of_kind("Deployment")["redis"]["spec"]["template"]["spec"]["containers"]
    service = of_kind("Service")["redis"]

    assert redis["command"][-2:] == ["--maxmemory-policy", "noeviction"]
    assert config()["REDIS_URL"] == f"redis://{service['metadata']['name']}:6379/0"


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
    [rule] = of_kind("Ingress")["web"]["spec"]["rules"]
    backends = [path["backend"]["service"]["name"] for path in rule["http"]["paths"]]

    assert backends == ["cell-1-web"]
    assert rule["host"] in config()["ALLOWED_HOSTS"].split(",")


def test_the_ingress_takes_as_much_as_web() -> None:
    annotations = of_kind("Ingress")["web"]["metadata"]["annotations"]
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


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_replicas_stand_apart_and_one_at_a_time_may_be_away(name: str) -> None:
    selector = of_kind("Deployment")[name]["spec"]["selector"]
    spread = pods()[name]["topologySpreadConstraints"]
    budget = of_kind("PodDisruptionBudget")[name]["spec"]

    assert {each["topologyKey"] for each in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(each["labelSelector"] == selector for each in spread)
    assert budget == {"maxUnavailable": 1, "selector": selector}


def test_several_webs_workers_and_beats_run() -> None:
    deployments = of_kind("Deployment")
    replicas = {
        name: deployments[name]["spec"].get("replicas") for name in sorted(DEPLOYED)
    }
    scaling = of_kind("HorizontalPodAutoscaler")["web"]["spec"]

    assert replicas == {"beat": 2, "flower": 1, "web": None, "worker": 2}
    assert scaling["scaleTargetRef"]["name"] == "cell-1-web"
    assert scaling["minReplicas"] == 2


def test_workers_follow_what_waits() -> None:
    worker = of_kind("Deployment", *EVERYTHING)["worker"]["spec"]
    scaled = of_kind("ScaledObject", *EVERYTHING)["worker"]["spec"]
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    [trigger] = scaled["triggers"]
    [metric] = re.findall(r"scheduler_\w+", trigger["metadata"]["query"])

    assert "replicas" not in worker
    assert scaled["scaleTargetRef"] == {"name": "cell-1-worker"}
    assert f"`{metric}`" in metrics


def test_prometheus_reads_every_port_with_metrics() -> None:
    monitor = of_kind("PodMonitor", *EVERYTHING)["metrics"]["spec"]
    ports = {each["port"] for each in monitor["podMetricsEndpoints"]}

    assert ports == {
        container(name)["ports"][0]["name"] for name in ("web", "worker", "beat")
    }
    assert "METRICS_TOKEN" in secrets_of_the_page()


def test_a_pod_reaches_only_what_it_needs() -> None:
    policies = of_kind("NetworkPolicy")
    default = policies["default"]["spec"]
    outside = policies["targets"]["spec"]
    [targets] = outside["egress"]

    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule.get("to") for rule in default["egress"])
    assert outside["podSelector"]["matchExpressions"][0]["values"] == ["web", "worker"]
    # The addresses of a cloud's metadata.
    assert "169.254.0.0/16" in targets["to"][0]["ipBlock"]["except"]


def door() -> dict[str, dict[str, Any]]:
    return {
        f"{each['kind']} {each['metadata']['name']}": each
        for each in render(chart=DOOR, release="door")
    }


def test_the_door_fits_the_schemas_of_kubernetes() -> None:
    for document in door().values():
        kubernetes_validate.validate(document, "1.30", strict=True)


def test_the_door_has_known_settings_and_the_configuration_of_the_repository() -> None:
    written = (ROOT / "deploy" / "door" / "haproxy.cfg").read_text(encoding="utf-8")
    variables = set(re.findall(r"\$\{(\w+)\}", written))
    pod = door()["StatefulSet door"]["spec"]["template"]["spec"]
    proxy, follower = pod["containers"]

    known = door()["ConfigMap door"]["data"].keys() | {
        each["name"] for each in follower["env"]
    }
    assert known <= settings.KNOWN_VARIABLES
    assert door()["ConfigMap door-haproxy"]["data"]["haproxy.cfg"].strip() == (
        written.strip()
    )
    assert {each["name"] for each in proxy["env"]} == variables


def test_a_door_starts_with_the_maps_of_before_and_follows_the_directory() -> None:
    pod = door()["StatefulSet door"]["spec"]["template"]["spec"]
    [maps] = pod["initContainers"]
    proxy, follower = pod["containers"]
    directory = door()["ConfigMap door"]["data"]["DOOR_DIR"]

    assert maps["command"][-1] == (
        f"python manage.py write_door || test -s {directory}/cells.cfg"
    )
    assert f"{directory}/cells.cfg" in proxy["command"]
    assert follower["command"] == ["python", "manage.py", "follow_directory"]
    assert [each["mountPath"] for each in proxy["volumeMounts"]] == [
        "/etc/door",
        directory,
        "/run/door",
    ]
