"""What the charts ask of operators fits the types of CloudNativePG, KEDA and Prometheus' operator.

crd_schemas/README.md says where the schemas are from.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from tests.architecture.charts import EVERYTHING, ROOT, needs_helm, of_kind

SCHEMAS = ROOT / "tests" / "architecture" / "crd_schemas"
KINDS = ("Cluster", "PodMonitor", "ScaledObject")
PLUGIN = "postgres.plugins[0]"
# Each is what the values describe.
WITH_BACKUPS = (
    f"{PLUGIN}.name=barman-cloud.cloudnative-pg.io",
    f"{PLUGIN}.isWALArchiver=true",
    f"{PLUGIN}.parameters.barmanObjectName=backups",
    "postgres.backup.barmanObjectStore.destinationPath=s3://backups/",
    "postgres.storageClass=fast",
)
# A field that is no field, one of the wrong type, and one that must be there.
WRONG: tuple[tuple[str, tuple[str, ...], object], ...] = (
    ("Cluster", ("spec", "instance"), 3),
    ("Cluster", ("spec", "instances"), "3"),
    ("Cluster", ("spec", "postgresql", "synchronous", "number"), "one"),
    ("Cluster", ("spec", "postgresql", "synchronous", "durability"), "required"),
    ("Cluster", ("spec", "probes", "liveness", "isolationCheck", "enable"), True),
    ("Cluster", ("spec", "postgresql", "parameters", "max_connections"), 300),
    ("Cluster", ("spec", "storage", "class"), "fast"),
    ("ScaledObject", ("spec", "minReplicas"), 2),
    ("ScaledObject", ("spec", "maxReplicaCount"), "20"),
    ("ScaledObject", ("spec", "scaleTargetRef"), {"kind": "Deployment"}),
    ("ScaledObject", ("spec", "triggers"), [{"type": "prometheus"}]),
    ("PodMonitor", ("spec", "podMetricsEndpoint"), []),
    ("PodMonitor", ("spec", "selector", "matchLabel"), {}),
)

pytestmark = needs_helm


def find(kind: str, *values: str) -> dict[str, Any]:
    [found] = of_kind(kind, *EVERYTHING, *values).values()
    return found


def validate(document: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / f"{document['kind']}.json").read_text())
    jsonschema.Draft7Validator(schema).validate(document)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_rendered_fits_the_schema_of_its_operator(kind: str) -> None:
    validate(find(kind))
    validate(find(kind, *WITH_BACKUPS))


@pytest.mark.parametrize(
    ("kind", "path", "value"), WRONG, ids=lambda each: str(each).replace(" ", "")
)
def test_a_wrong_field_is_found(
    kind: str, path: tuple[str, ...], value: object
) -> None:
    document = copy.deepcopy(find(kind))
    *way, last = path
    place = document
    for name in way:
        place = place[name]
    place[last] = value

    with pytest.raises(jsonschema.ValidationError):
        validate(document)
