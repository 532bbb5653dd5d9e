"""Tables, plans and accounts as a terminal shows them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from scheduler_client.models import Account, FireTimes, Plan, Run, Step, Task

LONGEST_CELL = 60
_SIGNS = {
    "create": "+",
    "change": "~",
    "pause": "‖",
    "resume": "▸",
    "delete": "-",
    "keep": "=",
    "over": "·",
}
_DONE = {
    "create": "created",
    "change": "changed",
    "pause": "paused",
    "resume": "resumed",
    "delete": "deleted",
    "keep": "kept",
    "over": "over",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Lines of columns that stand below each other."""
    cells = [[text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def text(value: object) -> str:
    """A value as one cell. What could move the cursor is not let through."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%SZ")
        case list() | tuple():
            return printable(", ".join(map(str, value))) or "-"
    return printable(str(value)) or "-"


def printable(value: str, longest: int = LONGEST_CELL) -> str:
    shown = "".join(
        c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for c in value
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def schedule_of(task: Task) -> str:
    if task.run_datetime:
        return f"once {text(task.run_datetime)}"
    if task.cron:
        return f"{task.cron} {task.timezone}"
    return f"every {task.frequency} s"


def tasks(found: Iterable[Task]) -> Iterator[str]:
    rows = [
        (
            each.id,
            each.name,
            schedule_of(each),
            each.url or f"queue {each.queue}",
            "paused" if each.paused else "active",
            each.next_run_datetime,
            each.tags,
        )
        for each in found
    ]
    head = ("id", "name", "schedule", "target", "state", "next run", "tags")
    return table(head, rows)


def details(data: dict[str, Any]) -> Iterator[str]:
    """An object, a field a line."""
    width = max(map(len, data), default=0)
    for name, value in data.items():
        yield f"{name.ljust(width)}  {written(value)}".rstrip()


def written(value: Any, longest: int = 2000) -> str:
    if isinstance(value, str):
        return printable(value, longest)
    return printable(json.dumps(value, ensure_ascii=False), longest)


def runs(found: Iterable[Run]) -> Iterator[str]:
    rows = [
        (
            each.id,
            each.task_name or each.task_id,
            each.scheduled_for,
            each.state,
            each.last_status,
            each.attempt_count,
            each.reason,
        )
        for each in found
    ]
    head = ("id", "task", "scheduled for", "state", "status", "attempts", "reason")
    return table(head, rows)


def run(found: Run) -> Iterator[str]:
    yield from details({k: v for k, v in found.raw.items() if k != "attempts"})
    if not found.attempts:
        return
    yield ""
    rows = [
        (a.number, a.started_at, a.duration_ms, a.status_code, a.error, a.answer)
        for a in found.attempts
    ]
    yield from table(("attempt", "started", "ms", "status", "error", "answer"), rows)


def fire_times(found: FireTimes) -> Iterator[str]:
    if found.paused:
        yield "The task is paused; if it was resumed now:"
    rows = [
        (each.at, each.local, dst(each.dst, each.wall)) for each in found.fire_times
    ]
    yield from table(("UTC", found.timezone, "change of the clock"), rows)


def dst(mark: str | None, wall: str | None) -> str:
    if mark in ("moved", "dropped"):
        return f"{mark}: there is no {wall}"
    return mark or ""


def account(found: Account) -> Iterator[str]:
    yield f"From {text(found.since)} to {text(found.until)}"
    yield ""
    yield f"planned     {found.planned:>8}"
    for name in ("delivered", "failed", "skipped", "missed", "cancelled", "under_way"):
        yield f"- {name.replace('_', ' '):<10}{getattr(found, name):>8}"
    yield f"= balance   {found.balance:>8}"
    yield f"by hand     {found.manual:>8}"
    for change in found.changes:
        yield f"{text(change.at)}  {change.what}"
    for each in found.differences:
        yield f"{text(each.scheduled_for)}  {each.kind}: {printable(each.message, 200)}"


def plan(found: Plan) -> Iterator[str]:
    """The plan as a diff: what is kept only counts."""
    for step in found.steps:
        if step.action not in ("keep", "over"):
            yield from _step(step)
            yield ""
    counts = [f"{n} {_DONE[action]}" for action, n in found.counts.items() if n]
    told = ", ".join(counts) or "nothing there"
    yield f"{'Plan' if found.dry_run else 'Done'} for {printable(found.tag)}: {told}"


def _step(step: Step) -> Iterator[str]:
    yield f"{_SIGNS.get(step.action, '?')} {step.action} {printable(step.name, 255)}"
    for name, change in step.changes.items():
        if step.action == "create":
            if change["to"] is not None:
                yield f"    {name}: {written(change['to'], 200)}"
        elif step.action != "delete":
            before, after = written(change["from"], 100), written(change["to"], 100)
            told = "other values" if before == after else f"{before} → {after}"
            yield f"    {name}: {told}"
    if step.action == "change" and not step.changes:
        yield "    (the same to the eye: the order of keys, or parts of a second)"
    if step.fire_times_before == step.fire_times_after:
        return
    for sign, times in (("-", step.fire_times_before), ("+", step.fire_times_after)):
        if times:
            yield f"    {sign} fires {', '.join(times)}"
    if not step.fire_times_after:
        yield "    + fires no more"
