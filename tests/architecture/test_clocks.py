"""Nobody asks the machine's clock for what is decided by the database's."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.folders import MODULES

ASKED = {
    "timezone.now",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "compat.uuid7",
    "uuid_utils.uuid7",
}
# Where the machine's clock is asked, and why it does no harm there.
EXCEPTIONS = {
    ("scheduler_service.local.echo", "datetime.now"): "a target has a clock of its own",
    ("tasks_api.domain.ids", "compat.uuid7"): "at a moment that it is given",
    (
        "tasks_api.worker.flower_events",
        "time.time",
    ): "Celery's events say when they were sent",
    (
        "tasks_api.scheduler.beat",
        "timezone.now",
    ): "as Celery's beat does for its own entries",
    ("tasks_api.delivery.transfers", "datetime.now"): "where a target says no date",
}


def asked(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            yield from (name for name in ASKED if f".{dotted}".endswith(f".{name}"))


def test_the_machines_clock_is_asked_where_it_does_no_harm() -> None:
    found = {(module, name) for module in MODULES for name in asked(module)}

    assert found <= EXCEPTIONS.keys()
