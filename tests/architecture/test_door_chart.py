"""The chart of the door starts HAProxy and its follower, with known settings and ports."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate

from scheduler_service import settings
from tests.architecture.charts import ROOT, door, needs_helm, of_kind, policy_ports

pytestmark = needs_helm


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


def door_pod() -> dict[str, Any]:
    return dict(door()["StatefulSet door"]["spec"]["template"]["spec"])


def containers() -> list[dict[str, Any]]:
    return [*door_pod()["initContainers"], *door_pod()["containers"]]


def test_a_probe_asks_what_the_door_answers_at_its_port() -> None:
    written = (ROOT / "deploy" / "door" / "haproxy.cfg").read_text(encoding="utf-8")
    proxy = door_pod()["containers"][0]
    [port] = proxy["ports"]
    bind = next(each for each in proxy["env"] if each["name"] == "DOOR_BIND")

    assert bind["value"] == f":{port['containerPort']}"
    for kind in ("livenessProbe", "readinessProbe"):
        asked = proxy[kind]["httpGet"]
        assert asked["port"] == port["name"]
        assert f"path {asked['path']} " in written


def test_a_service_leads_to_the_door() -> None:
    spec = door()["Service door"]["spec"]
    [port] = spec["ports"]
    labels = door()["StatefulSet door"]["spec"]["selector"]["matchLabels"]

    assert spec["selector"] == labels
    assert port["targetPort"] == door_pod()["containers"][0]["ports"][0]["name"]


def test_the_door_has_few_rights() -> None:
    [user] = re.findall(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    pod = door_pod()

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert not pod["automountServiceAccountToken"]
    for each in containers():
        rights = each["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_doors_stand_apart_and_one_at_a_time_may_be_away() -> None:
    selector = door()["StatefulSet door"]["spec"]["selector"]
    spread = door_pod()["topologySpreadConstraints"]
    budget = door()["PodDisruptionBudget door"]["spec"]

    assert door()["StatefulSet door"]["spec"]["replicas"] == 2
    assert {each["topologyKey"] for each in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(each["labelSelector"] == selector for each in spread)
    assert budget == {"maxUnavailable": 1, "selector": selector}


def test_a_door_reaches_webs_of_cells_and_their_directory() -> None:
    policy = door()["NetworkPolicy door"]["spec"]
    cells, directory, _names = policy["egress"]
    [web] = cells["to"]
    labels = of_kind("Deployment")["web"]["spec"]["template"]["metadata"]["labels"]

    assert web["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy_ports(cells) == {settings.PORT}
    assert policy_ports(directory) == {5432}


def test_a_cell_that_names_the_namespace_of_the_door_lets_it_in() -> None:
    [rule] = of_kind("NetworkPolicy", "ingress.fromNamespaces={scheduler-door}")["web"][
        "spec"
    ]["ingress"]

    assert rule["from"] == [
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": "scheduler-door"}
            }
        }
    ]
