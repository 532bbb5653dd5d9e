"""Imports point inwards: pure → models → core → edges. Read from the source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PURE = {
    "accounts.credentials",
    "accounts.refusals",
    "tasks_api.arrays",
    "tasks_api.coming",
    "tasks_api.cron",
    "tasks_api.cron_text",
    "tasks_api.effort",
    "tasks_api.eventbridge",
    "tasks_api.exceptions",
    "tasks_api.ids",
    "tasks_api.states",
    "tasks_api.moments",
    "tasks_api.schedules",
    "tasks_api.specs",
    "tasks_api.delivery.request",
    "tasks_api.delivery.run_tokens",
    "tasks_api.delivery.signing",
    "tasks_api.delivery.retry",
    "tasks_api.delivery.shares",
    "tasks_api.delivery.guard",
}
MODELS = {
    "accounts.fields",
    "accounts.models",
    "tasks_api.models",
    "tasks_api.models.bookkeeping",
    "tasks_api.models.messages",
    "tasks_api.models.runs",
    "tasks_api.models.tasks",
}
CORE = {
    "scheduler_service.clock",
    "scheduler_service.locks",
    "accounts.audit",
    "accounts.doors",
    "accounts.encryption",
    "accounts.erasure",
    "accounts.services",
    "tasks_api.account",
    "tasks_api.broker",
    "tasks_api.changes",
    "tasks_api.declare",
    "tasks_api.dispatch",
    "tasks_api.erasure",
    "tasks_api.isolation",
    "tasks_api.notices",
    "tasks_api.outlook",
    "tasks_api.events",
    "tasks_api.failures",
    "tasks_api.faults",
    "tasks_api.heartbeats",
    "tasks_api.history",
    "tasks_api.idempotency",
    "tasks_api.listing",
    "tasks_api.long_work",
    "tasks_api.metrics",
    "tasks_api.overlap",
    "tasks_api.owners",
    "tasks_api.periodic",
    "tasks_api.pull",
    "tasks_api.recompute",
    "tasks_api.redrive",
    "tasks_api.retention",
    "tasks_api.run_key",
    "tasks_api.services",
    "tasks_api.store",
    "tasks_api.streaks",
    "tasks_api.survey",
    "tasks_api.tallies",
    "tasks_api.targets",
    "tasks_api.vitals",
    "tasks_api.waking",
    "tasks_api.delivery.attempts",
    "tasks_api.delivery.building",
    "tasks_api.delivery.descriptors",
    "tasks_api.delivery.engine",
    "tasks_api.delivery.handles",
    "tasks_api.delivery.holding",
    "tasks_api.delivery.leases",
    "tasks_api.delivery.lookups",
    "tasks_api.delivery.names",
    "tasks_api.delivery.queues",
    "tasks_api.delivery.record",
    "tasks_api.delivery.resolver",
    "tasks_api.delivery.sockets",
    "tasks_api.delivery.transport",
    "tasks_api.delivery.verdicts",
    "tasks_api.delivery.waiting",
}
RING = {name: depth for depth, ring in enumerate((PURE, MODELS, CORE)) for name in ring}
EDGE = 3

# Outside packages that only some modules may know, and why nobody else should.
DOORS = {
    # It would fire stored schedules a second time, or lock their one global row.
    "django_celery_beat": {
        "tasks_api.periodic",
        "tasks_api.models.tasks",
        "tasks_api.beat",
        "tasks_api.admin.schedules",
    },
    # One guarded door to targets: no address is connected to without being checked.
    "pycurl": {
        "tasks_api.delivery.attempts",
        "tasks_api.delivery.handles",
        "tasks_api.delivery.sockets",
        "tasks_api.delivery.transport",
    },
    # Nor is any name looked up whose addresses nobody checks.
    "pycares": {"tasks_api.delivery.resolver"},
    # What is counted has its names in one place, and what is surveyed in another.
    "prometheus_client": {"tasks_api.metrics", "tasks_api.survey"},
    # Messages are hints: what must happen does not depend on Celery.
    "celery": {
        "tasks_api.broker",
        "tasks_api.beat",
        "tasks_api.events",
        "tasks_api.tasks",
        "scheduler_service",
        "scheduler_service.celery",
        "scheduler_service.consumer",
        # Starts Flower, which is a command of Celery.
        "scheduler_service.flower",
    },
}
# Pure code decides without a database, a socket or a framework. Choices are Django's
# enums, which need none of them.
NOT_PURE = ("django", "celery", "rest_framework", "redis", "socket", "pycurl")
ALLOWED_IN_PURE = {"tasks_api.states": {"django.db.models"}}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("accounts", "tasks_api", "scheduler_service"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" not in parts:
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports_of(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """What a module imports: each name dotted as far as it is a module of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                yield (dotted if dotted in MODULES else node.module), node


def depth_of(module: str) -> int:
    return RING.get(module, EDGE)


@pytest.mark.parametrize("module", sorted(RING))
def test_no_import_points_outwards(module: str) -> None:
    ours = {name for name, _ in imports_of(MODULES[module]) if name in MODULES}
    packages = {"accounts", "tasks_api", "tasks_api.delivery", "scheduler_service"}
    # Wiring: how the servers are reached, and nothing that is done with them.
    wiring = {"brokers", "embedded", "statements"}
    ours -= packages | {f"scheduler_service.{each}" for each in wiring}

    outward = {name for name in ours if depth_of(name) > depth_of(module)}

    assert outward == set()


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_knows_no_framework(module: str) -> None:
    names = {name for name, _ in imports_of(MODULES[module])}

    framework = {name for name in names if name.split(".")[0] in NOT_PURE}

    assert framework <= ALLOWED_IN_PURE.get(module, set())


@pytest.mark.parametrize("package", sorted(DOORS))
def test_some_packages_are_known_to_few_modules(package: str) -> None:
    knowing = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == package for name, _ in imports_of(path))
    }

    assert knowing <= DOORS[package]


def test_accounts_know_nothing_about_tasks() -> None:
    for module, path in MODULES.items():
        if module.startswith("accounts"):
            names = {name for name, _ in imports_of(path)}
            assert not {name for name in names if name.startswith("tasks_api")}, module


def test_no_wire_format_imports_another() -> None:
    shared = {
        f"tasks_api.api{name}"
        for name in (
            "",
            ".json",
            ".errors",
            ".fields",
            ".idempotency",
            ".known",
            ".pages",
            ".products_schema",
            ".schema",
        )
    }
    formats = {name for name in MODULES if name.startswith("tasks_api.api.")} - shared
    for module in formats:
        own = module.split(".")[2].split("_")[0]
        others = {name for name, _ in imports_of(MODULES[module])} & formats
        assert all(other.split(".")[2].startswith(own) for other in others), module


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_hides_inside_a_function(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    hidden = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert hidden == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_says_in_one_line_what_it_is_for(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")

    assert not text.strip() or ast.get_docstring(ast.parse(text))
