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
    "scheduler_service.db.arrays",
    "tasks_api.domain.fire_times",
    "tasks_api.domain.cron",
    "tasks_api.domain.cron_text",
    "tasks_api.domain.effort",
    "tasks_api.domain.eventbridge",
    "tasks_api.domain.exceptions",
    "tasks_api.domain.ids",
    "tasks_api.domain.states",
    "tasks_api.domain.timestamps",
    "tasks_api.domain.schedules",
    "tasks_api.domain.specs",
    "tasks_api.delivery.request",
    "tasks_api.delivery.run_tokens",
    "tasks_api.delivery.signing",
    "tasks_api.delivery.retry",
    "tasks_api.delivery.shares",
    "tasks_api.domain.guard",
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
    "scheduler_service.db.clock",
    "scheduler_service.db.locks",
    "accounts.audit",
    "accounts.doors",
    "accounts.encryption",
    "accounts.erasure",
    "accounts.services",
    "tasks_api.services.reconciliation",
    "tasks_api.messaging.broker",
    "tasks_api.storage.schedule_changes",
    "tasks_api.services.apply",
    "tasks_api.scheduler.dispatch",
    "tasks_api.services.erasure",
    "tasks_api.scheduler.isolation",
    "tasks_api.services.notifications",
    "tasks_api.scheduler.poll",
    "tasks_api.worker.flower_events",
    "tasks_api.worker.failure_log",
    "tasks_api.delivery.faults",
    "tasks_api.monitoring.heartbeats",
    "tasks_api.services.runs",
    "tasks_api.services.idempotency",
    "tasks_api.services.listing",
    "tasks_api.worker.long_work",
    "tasks_api.metrics.counters",
    "tasks_api.storage.run_rows",
    "tasks_api.services.owners",
    "tasks_api.storage.beat_tables",
    "tasks_api.services.pull_queue",
    "tasks_api.services.recompute",
    "tasks_api.services.redrive",
    "tasks_api.storage.retention",
    "tasks_api.storage.run_key",
    "tasks_api.services.tasks",
    "tasks_api.storage.task_rows",
    "tasks_api.worker.failure_streaks",
    "tasks_api.monitoring.collector",
    "tasks_api.storage.task_counts",
    "tasks_api.delivery.targets",
    "tasks_api.monitoring.watchdog",
    "tasks_api.scheduler.rescue",
    "tasks_api.delivery.attempts",
    "tasks_api.worker.building",
    "tasks_api.delivery.descriptors",
    "tasks_api.worker.engine",
    "tasks_api.delivery.curl_handles",
    "tasks_api.worker.holding",
    "tasks_api.worker.leases",
    "tasks_api.delivery.lookups",
    "tasks_api.delivery.dns",
    "tasks_api.delivery.host_queues",
    "tasks_api.worker.record",
    "tasks_api.delivery.resolver",
    "tasks_api.delivery.sockets",
    "tasks_api.delivery.transport",
    "tasks_api.worker.verdicts",
    "tasks_api.worker.backlog",
}
RING = {name: depth for depth, ring in enumerate((PURE, MODELS, CORE)) for name in ring}
EDGE = 3

# Outside packages that only some modules may know, and why nobody else should.
DOORS = {
    # It would fire stored schedules a second time, or lock their one global row.
    "django_celery_beat": {
        "tasks_api.storage.beat_tables",
        "tasks_api.models.tasks",
        "tasks_api.scheduler.beat",
        "tasks_api.admin.schedules",
    },
    # One guarded door to targets: no address is connected to without being checked.
    "pycurl": {
        "tasks_api.delivery.attempts",
        "tasks_api.delivery.curl_handles",
        "tasks_api.delivery.sockets",
        "tasks_api.delivery.transport",
    },
    # Nor is any name looked up whose addresses nobody checks.
    "pycares": {"tasks_api.delivery.resolver"},
    # What is counted has its names in one place, and what is surveyed in another.
    "prometheus_client": {
        "tasks_api.metrics.counters",
        "tasks_api.monitoring.collector",
    },
    # Messages are hints: what must happen does not depend on Celery.
    "celery": {
        "tasks_api.messaging.broker",
        "tasks_api.scheduler.beat",
        "tasks_api.worker.flower_events",
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
ALLOWED_IN_PURE = {"tasks_api.domain.states": {"django.db.models"}}


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
