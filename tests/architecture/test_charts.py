"""The chart of a cell starts the parts of the Procfile, with known settings, ports and probes.

Helm renders it, and the schemas of Kubernetes judge what comes out. No cluster runs it here.
"""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import scheduler_service
from scheduler_service import settings
from scheduler_service.process.supervisor import STOP_TIMEOUT
from tests.architecture.charts import (
    CELL,
    DOOR,
    EVERYTHING,
    ROOT,
    WITHOUT_SERVERS,
    command_of_the_procfile,
    config,
    container,
    needs_helm,
    of_kind,
    pods,
    policy_ports,
    render,
    secrets_of_the_page,
)

DEPLOYED = {"web", "worker", "beat", "flower"}
PORTS = {"web": settings.PORT, "flower": settings.FLOWER_PORT}
# Set where the chart runs what they lead to.
URLS = {"DATABASE_URL", "REDIS_URL"}
# Kinds of other projects; test_custom_resources.py has their schemas.
FOREIGN_KINDS = {"Cluster", "ScaledObject", "PodMonitor"}

pytestmark = needs_helm


@pytest.mark.parametrize("values", [(), EVERYTHING, WITHOUT_SERVERS])
def test_what_is_rendered_fits_the_schemas_of_kubernetes(
    values: tuple[str, ...],
) -> None:
    for document in (*render(*values), *render(*values, upgrade=True)):
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
    upgrade = of_kind("Job", upgrade=True)["migrate"]["metadata"]

    assert upgrade["annotations"]["helm.sh/hook"] == "pre-upgrade"


def test_an_install_waits_for_no_hook() -> None:
    # With --wait, Helm runs hooks of an install when all pods are ready, and web is ready
    # when the database is migrated.
    for document in render(*EVERYTHING):
        assert "helm.sh/hook" not in document["metadata"].get("annotations", {})


def test_every_setting_is_known_to_the_code() -> None:
    secrets = secrets_of_the_page()

    assert config().keys() | secrets <= settings.KNOWN_VARIABLES
    assert {"SECRET_KEY", "METRICS_TOKEN"} <= secrets
    assert config()["SCHEDULER_CELL"] == "cell-1"
    assert not config().keys() & (secrets - URLS)


def test_a_setting_of_the_values_is_added_or_replaces_that_of_the_chart() -> None:
    written = config(
        "settings.SCHEDULER_RETENTION_DAYS=3", "settings.TRUSTED_PROXIES=2"
    )

    assert written["SCHEDULER_RETENTION_DAYS"] == "3"
    assert written["TRUSTED_PROXIES"] == "2"
    assert written.keys() == config().keys() | {"SCHEDULER_RETENTION_DAYS"}


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
def test_what_a_pod_writes_is_a_volume(name: str) -> None:
    volumes = {each["name"] for each in pods()[name]["volumes"]}
    mounts = {
        each["mountPath"]: each["name"] for each in container(name)["volumeMounts"]
    }

    assert mounts.keys() == {"/tmp", config()["SCHEDULER_STATE_DIR"]}  # noqa: S108 (in a container)
    assert set(mounts.values()) == volumes


def test_redis_has_few_rights() -> None:
    pod, rights = pods()["redis"], container("redis")["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("name", sorted({*DEPLOYED, "migrate"}))
def test_a_pod_has_time_to_stop_and_no_variables_of_services(name: str) -> None:
    pod = pods()[name]

    assert pod["terminationGracePeriodSeconds"] > STOP_TIMEOUT
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
    # A utilization is a share of what is requested.
    [metric] = scaling["metrics"]
    assert metric["resource"]["name"] in container("web")["resources"]["requests"]


def test_workers_follow_what_waits() -> None:
    worker = of_kind("Deployment", *EVERYTHING)["worker"]["spec"]
    scaled = of_kind("ScaledObject", *EVERYTHING)["worker"]["spec"]
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    [trigger] = scaled["triggers"]
    [metric] = re.findall(r"scheduler_\w+", trigger["metadata"]["query"])

    assert "replicas" not in worker
    assert scaled["scaleTargetRef"] == {"name": "cell-1-worker"}
    assert f"`{metric}`" in metrics
    # An age that is divided by the number of workers would end them while it stays.
    assert trigger["metricType"] == "Value"


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


def test_policies_are_for_every_pod_of_the_cell() -> None:
    chosen = of_kind("NetworkPolicy")["default"]["spec"]["podSelector"]["matchLabels"]

    for owner in (*of_kind("Deployment").values(), *of_kind("Job").values()):
        labels = owner["spec"]["template"]["metadata"]["labels"]
        assert chosen.items() <= labels.items()


def test_from_outside_only_web_and_metrics_are_reached() -> None:
    policies = of_kind("NetworkPolicy")
    _own, monitoring = policies["default"]["spec"]["ingress"]
    [published] = policies["web"]["spec"]["ingress"]

    assert policy_ports(monitoring) == {settings.PORT, int(config()["METRICS_PORT"])}
    assert policy_ports(published) == {settings.PORT}
    assert monitoring["from"]
    assert published["from"]


@pytest.mark.parametrize(
    "nobody",
    ["networkPolicies.monitoringNamespaces=null", "ingress.fromNamespaces=null"],
)
def test_an_empty_list_of_namespaces_lets_nobody_in(nobody: str) -> None:
    # A rule that names nobody would let everybody in.
    for policy in of_kind("NetworkPolicy", nobody).values():
        for rule in policy["spec"].get("ingress") or []:
            assert rule["from"]


def test_servers_of_ones_own_are_reached() -> None:
    default = of_kind("NetworkPolicy", *WITHOUT_SERVERS)["default"]["spec"]
    anywhere = [rule for rule in default["egress"] if "to" not in rule]

    # PostgreSQL; Redis, Sentinels and RabbitMQ with and without TLS.
    assert set().union(*map(policy_ports, anywhere)) == {
        5432,
        *(6379, 26379),
        *(5671, 5672),
    }
