"""Imports run one way, folder by folder. Read from the source text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.folders import (
    FOLDERS,
    MODULES,
    PACKAGES,
    Arrow,
    find_arrows,
    folder_of,
    imports_of,
    is_inside,
)

# They decide, and know no database, socket or framework.
PURE_FOLDERS = ("tasks_api.domain",)
PURE_MODULES = (
    "accounts.url_credentials",
    "accounts.url_checks",
    "scheduler_service.db.arrays",
    "tasks_api.delivery.request",
    "tasks_api.delivery.retry",
    "tasks_api.delivery.run_tokens",
    "tasks_api.delivery.shares",
)
PURE = sorted(
    module
    for module in MODULES
    if any(is_inside(module, folder) for folder in (*PURE_FOLDERS, *PURE_MODULES))
)
FRAMEWORKS = ("django", "celery", "rest_framework", "redis", "socket", "pycurl")
# Choices are Django's enums, which need neither settings nor a database.
ALLOWED_IN_PURE = {"tasks_api.domain.states": {"django.db.models"}}

# Outside packages that only some modules may know, and why nobody else should.
DOORS = {
    # It would fire stored schedules a second time, or lock their one global row.
    "django_celery_beat": {
        "scheduler_service.compat.celery_beat",
        "tasks_api.storage.schedule_rows",
        "tasks_api.models.tasks",
        "tasks_api.scheduler.operator_tasks",
        "tasks_api.admin.schedules",
    },
    # One guarded door to targets: no address is connected to without being checked.
    "pycurl": {
        "tasks_api.delivery.transfers",
        "tasks_api.delivery.curl_handles",
        "tasks_api.delivery.multi_handle",
        "tasks_api.delivery.sockets",
        "tasks_api.delivery.transport",
    },
    # Nor is any name looked up whose addresses nobody checks.
    "pycares": {"tasks_api.delivery.resolver"},
    # What is counted has its names in one place, and what is collected in another.
    "prometheus_client": {
        "tasks_api.metrics.counters",
        "tasks_api.metrics.registry",
        "tasks_api.monitoring.collector",
        # Reads what other cells expose.
        "tasks_api.monitoring.cells",
    },
    # Messages are hints: what must happen does not depend on Celery.
    "celery": {
        "tasks_api.messaging.broker",
        "tasks_api.messaging.rabbitmq",
        "tasks_api.messaging.redis_broker",
        "tasks_api.scheduler.beat",
        "tasks_api.scheduler.operator_tasks",
        "tasks_api.worker.flower_events",
        "tasks_api.worker.flower_publisher",
        "tasks_api.tasks",
        "scheduler_service",
        "scheduler_service.celery",
        "scheduler_service.consumer",
        "scheduler_service.compat.celery_worker",
        "scheduler_service.compat.kombu_amqp",
        # Starts Flower, which is a command of Celery.
        "scheduler_service.flower",
    },
}


def place_of(module: str) -> int:
    """How high the folder of a module stands."""
    return FOLDERS.index(folder_of(module))


def test_a_folder_imports_only_folders_below_it() -> None:
    upwards = [
        arrow
        for arrow in find_arrows()
        if arrow.target not in PACKAGES
        and place_of(arrow.target) > place_of(arrow.source)
    ]

    assert upwards == []


def test_the_rule_names_only_folders_that_are_there() -> None:
    assert set(FOLDERS) <= MODULES.keys()


def test_no_wire_format_imports_another() -> None:
    formats = {name for name in FOLDERS if name.startswith("tasks_api.api.")}
    across = [
        arrow
        for arrow in find_arrows()
        if {folder_of(arrow.source), folder_of(arrow.target)} <= formats
        and folder_of(arrow.source) != folder_of(arrow.target)
    ]

    assert across == []


SHARED_READERS = ("tasks_api.api.fields", "tasks_api.api.json_codec")
# A form is one way to write the body of a request to the API, which reads it: so each rule
# about a task or a calendar stands once.
READERS_OF_FORMS = {
    "console.task_forms": ("tasks_api.api.tasks", *SHARED_READERS),
    "console.many_tasks": ("tasks_api.api.tasks", *SHARED_READERS),
    "console.calendars": ("tasks_api.api.calendars",),
}


def our_imports_of(module: str) -> set[str]:
    return {name for name in imports_of(MODULES[module]) if name in MODULES}


def may_call(page: str) -> list[str]:
    """The folders that a module of the pages may import."""
    allowed = ["accounts", "console", "scheduler_service", "tasks_api.domain"]
    for folder, readers in READERS_OF_FORMS.items():
        allowed += readers if is_inside(page, folder) else ()
    return [*allowed, "tasks_api.services"]


def test_a_page_calls_services_and_nothing_below_them() -> None:
    below = [
        Arrow(page, name)
        for page in MODULES
        if is_inside(page, "console")
        for name in our_imports_of(page)
        if not any(is_inside(name, each) for each in may_call(page))
    ]

    assert below == []


def test_a_pure_module_knows_no_framework() -> None:
    known = [
        Arrow(module, name)
        for module in PURE
        for name in imports_of(MODULES[module])
        if name.split(".")[0] in FRAMEWORKS
        and name not in ALLOWED_IN_PURE.get(module, ())
    ]

    assert known == []


def test_a_pure_module_imports_only_pure_ones() -> None:
    impure = [
        Arrow(module, name)
        for module in PURE
        for name in our_imports_of(module) - set(PURE)
        if MODULES[name].name != "__init__.py"
    ]

    assert impure == []


@pytest.mark.parametrize("package", sorted(DOORS))
def test_some_packages_are_known_to_few_modules(package: str) -> None:
    knowing = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == package for name in imports_of(path))
    }

    assert knowing <= DOORS[package]


def lines_of_hidden_imports(path: Path) -> list[int]:
    """Where functions import something."""
    return [
        node.lineno
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def test_no_import_hides_inside_a_function() -> None:
    hidden = {
        name: lines
        for name, path in MODULES.items()
        if (lines := lines_of_hidden_imports(path))
    }

    assert hidden == {}


def says_what_it_is_for(path: Path) -> bool:
    return bool(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))))


def test_a_module_says_in_one_line_what_it_is_for() -> None:
    silent = [
        name
        for name, path in MODULES.items()
        if path.read_text().strip() and not says_what_it_is_for(path)
    ]

    assert silent == []


def test_a_folder_says_what_lives_in_it() -> None:
    folders = set(FOLDERS) - set(PACKAGES)

    assert [name for name in folders if not says_what_it_is_for(MODULES[name])] == []
