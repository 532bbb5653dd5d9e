"""Format tasks, runs, plans and accounts as lines for a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from scheduler_client.bulk_models import ChangePlan, SelectedTasks
from scheduler_client.models import (
    Account,
    AdmissionVerdict,
    BackfillResult,
    FireTime,
    FireTimes,
    Forecast,
    LaneForecast,
    Plan,
    PlanStep,
    Run,
    Stats,
    Task,
    TenantAccount,
)
from scheduler_client.why_models import ScheduleInForce, Why

MAX_CELL_LENGTH = 60
# The sign and the participle of each action of a plan.
_ACTIONS = {
    "create": ("+", "created"),
    "change": ("~", "changed"),
    "pause": ("‖", "paused"),
    "resume": ("▸", "resumed"),
    "delete": ("-", "deleted"),
    "keep": ("=", "kept"),
    "over": ("·", "over"),
}


def format_table(
    head: Sequence[str], rows: Iterable[Sequence[object]]
) -> Iterator[str]:
    """Format rows as aligned columns."""
    cells = [[format_cell(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def format_cell(value: object) -> str:
    """Format a value as one cell of a table."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%SZ")
        case list() | tuple():
            return sanitize(", ".join(map(str, value))) or "-"
    return sanitize(str(value)) or "-"


def sanitize(value: str, max_length: int = MAX_CELL_LENGTH) -> str:
    """Replace control characters, which could move the cursor, and shorten the text."""
    shown = "".join(
        c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for c in value
    )
    return shown if len(shown) <= max_length else shown[: max_length - 1] + "…"


def format_schedule(task: Task) -> str:
    if task.run_datetime:
        return f"once {format_cell(task.run_datetime)}"
    if task.cron:
        return f"{task.cron} {task.timezone}"
    if task.rrule:
        # DTSTART and RRULE are two lines.
        return " ".join(task.rrule.splitlines())
    if task.schedules:
        return f"{len(task.schedules)} schedules"
    return f"every {task.frequency} s"


def format_tasks(tasks: Iterable[Task]) -> Iterator[str]:
    rows = [
        (
            task.id,
            task.name,
            format_schedule(task),
            task.url or f"queue {task.queue}",
            "paused" if task.paused else "active",
            task.next_run_datetime,
            task.tags,
        )
        for task in tasks
    ]
    head = ("id", "name", "schedule", "target", "state", "next run", "tags")
    return format_table(head, rows)


def format_fields(data: dict[str, Any]) -> Iterator[str]:
    """Format an object with one field per line."""
    width = max(map(len, data), default=0)
    for name, value in data.items():
        yield f"{name.ljust(width)}  {format_value(value)}".rstrip()


def format_value(value: Any, max_length: int = 2000) -> str:
    if isinstance(value, str):
        return sanitize(value, max_length)
    return sanitize(json.dumps(value, ensure_ascii=False), max_length)


def format_runs(runs: Iterable[Run]) -> Iterator[str]:
    rows = [
        (
            run.id,
            run.task_name or run.task_id,
            run.scheduled_for,
            run.state,
            run.last_status,
            run.attempt_count,
            run.reason,
        )
        for run in runs
    ]
    head = ("id", "task", "scheduled for", "state", "status", "attempts", "reason")
    return format_table(head, rows)


def format_run(run: Run) -> Iterator[str]:
    yield from format_fields({k: v for k, v in run.raw.items() if k != "attempts"})
    if not run.attempts:
        return
    yield ""
    rows = [
        (a.number, a.started_at, a.duration_ms, a.status_code, a.error, a.answer)
        for a in run.attempts
    ]
    yield from format_table(
        ("attempt", "started", "ms", "status", "error", "answer"), rows
    )


def format_fire_times(fire_times: FireTimes) -> Iterator[str]:
    if fire_times.paused:
        yield "The task is paused; if it were resumed now:"
    rows = [
        (time.at, time.local, _format_effect(time)) for time in fire_times.fire_times
    ]
    yield from format_table(("UTC", fire_times.timezone, "change of the clock"), rows)
    yield from _format_admission(fire_times.admission)


def _format_admission(verdicts: Sequence[AdmissionVerdict]) -> Iterator[str]:
    for each in verdicts:
        if each.fits:
            yield (
                f"Lane {sanitize(each.lane)}: fits, runs start at most "
                f"{each.latest_start} s after their fire times"
            )
        else:
            yield f"Lane {sanitize(each.lane)}: does not fit. {sanitize(each.message, 500)}"


def _format_effect(time: FireTime) -> str:
    """Format what a calendar or a change of the clock does to a fire time."""
    for effect, by in (("excluded", time.excluded_by), ("moved", time.moved_by)):
        if by:
            origin = f" from {format_cell(time.moved_from)}" if time.moved_from else ""
            return f"{effect}{origin} by calendar {by['calendar']}"
    return _format_clock_change(time.dst, time.wall)


def _format_clock_change(mark: str | None, wall: str | None) -> str:
    if mark in ("moved", "dropped"):
        return f"{mark}: there is no {wall}"
    return mark or ""


def format_account(account: Account) -> Iterator[str]:
    yield from _format_sums(account)
    for change in account.changes:
        yield f"{format_cell(change.at)}  {change.what}"
    for difference in account.differences:
        message = sanitize(difference.message, 200)
        yield f"{format_cell(difference.scheduled_for)}  {difference.kind}: {message}"


def format_why(why: Why) -> Iterator[str]:
    yield f"{format_cell(why.at)}  {why.verdict}: {why.cause.code}"
    yield sanitize(why.cause.message, 500)
    if why.cause.hint:
        yield f"Hint: {why.cause.hint}"
    if why.schedule is not None:
        yield f"schedule    {format_cell(why.schedule.words)}{_format_author(why.schedule)}"
    for name, each in (("before", why.previous), ("after", why.next)):
        if each is not None:
            yield f"{name:<10}  {format_cell(each.at)}  {each.outcome or ''}".rstrip()
    for held in why.held_by:
        yield f"held by     {held.code}: {sanitize(held.message, 200)}"
    for proof in why.evidence:
        yield f"{proof.kind:<10}  {sanitize(proof.text, 200)}"


def _format_author(schedule: ScheduleInForce) -> str:
    author = schedule.written_by
    return "" if author is None else f", written by {sanitize(author.actor, 150)}"


def format_tenant_account(account: TenantAccount) -> Iterator[str]:
    yield from _format_sums(account)
    for each in account.differences:
        yield f"{format_cell(each.hour)}  balance {each.balance}"


def _format_sums(account: Account | TenantAccount) -> Iterator[str]:
    yield f"From {format_cell(account.since)} to {format_cell(account.until)}"
    yield ""
    yield f"planned     {account.planned:>8}"
    for name in ("delivered", "failed", "skipped", "missed", "cancelled", "under_way"):
        yield f"- {name.replace('_', ' '):<10}{getattr(account, name):>8}"
    yield f"= balance   {account.balance:>8}"
    yield f"by hand     {account.manual:>8}"


_COUNTED_STATES = (
    "succeeded",
    "failed",
    "skipped",
    "missed",
    "cancelled",
    "unfinished",
)


def format_stats(stats: Stats) -> Iterator[str]:
    rows = [
        (
            hour.hour,
            *(getattr(hour, state) for state in _COUNTED_STATES),
            hour.late_p50_ms,
            hour.late_p99_ms,
        )
        for hour in stats.hours
    ]
    yield from format_table(
        ("hour", *_COUNTED_STATES, "late p50 ms", "late p99 ms"), rows
    )
    for each in stats.reasons:
        yield f"{each.runs:>8} {each.state}: {sanitize(each.reason, 200)}"


def format_forecast(forecast: Forecast) -> Iterator[str]:
    width = timedelta(seconds=forecast.bucket)
    rows = [
        (forecast.since + index * width, count, paused)
        for index, (count, paused) in enumerate(
            zip(forecast.counts, forecast.paused_counts, strict=True)
        )
    ]
    yield from format_table(("from", "fire times", "of paused tasks"), rows)
    for each in forecast.series:
        label = each.task or each.tag or each.host or each.lane
        yield f"{each.total:>8} {format_cell(label)}"


def format_lane_forecast(forecast: LaneForecast) -> Iterator[str]:
    width = timedelta(seconds=forecast.bucket)
    nothing = [None] * len(forecast.counts)
    rows = [
        (
            forecast.since + index * width,
            count,
            None if used is None else f"{used:.0%}",
            wait,
        )
        for index, (count, used, wait) in enumerate(
            zip(
                forecast.counts,
                forecast.utilization or nothing,
                forecast.longest_wait or nothing,
                strict=True,
            )
        )
    ]
    yield f"{forecast.waiting} runs wait in lane {sanitize(forecast.lane)}"
    yield from format_table(("from", "fire times", "of capacity", "wait in s"), rows)


def format_plan(plan: Plan) -> Iterator[str]:
    """Format a plan as a diff. Tasks that do not change are only counted."""
    for step in plan.steps:
        if step.action not in ("keep", "over"):
            yield from _format_step(step)
            yield ""
    yield from _format_admission(plan.admission)
    counts = [f"{n} {_ACTIONS[action][1]}" for action, n in plan.counts.items() if n]
    summary = ", ".join(counts) or "nothing there"
    yield f"{'Plan' if plan.dry_run else 'Done'} for {sanitize(plan.tag)}: {summary}"


def format_change_plan(plan: ChangePlan) -> Iterator[str]:
    """Format the changes of the tasks of a filter as a diff."""
    for step in plan.steps:
        yield from _format_step(replace(step, name=step.name or str(step.id)))
        yield ""
    if plan.changed > len(plan.steps):
        yield f"… and {plan.changed - len(plan.steps)} more"
    yield f"{'Plan' if plan.dry_run else 'Done'}: {plan.changed} of {plan.count} change"


def format_selected(found: SelectedTasks) -> Iterator[str]:
    """Format a plan for the tasks of a filter: the first of them, and how many there are."""
    for task in found.tasks:
        yield sanitize(f"{task.id}  {task.name}".rstrip(), 300)
    more = " at first, and then more" if found.has_more else ""
    yield f"Plan: {found.count} tasks{more}"


def _format_step(step: PlanStep) -> Iterator[str]:
    sign, _ = _ACTIONS.get(step.action, ("?", ""))
    yield f"{sign} {step.action} {sanitize(step.name, 255)}"
    if step.action != "delete":
        for name, change in step.changes.items():
            yield from _format_change(name, change, is_new=step.action == "create")
    if step.action == "change" and not step.changes:
        yield "    (no visible difference: the order of keys, or fractions of a second)"
    if step.fire_times_before == step.fire_times_after:
        return
    for sign, times in (("-", step.fire_times_before), ("+", step.fire_times_after)):
        if times:
            yield f"    {sign} fires {', '.join(times)}"
    if not step.fire_times_after:
        yield "    + fires no more"


def _format_change(
    name: str, change: Mapping[str, Any], *, is_new: bool
) -> Iterator[str]:
    if is_new:
        if change["to"] is not None:
            yield f"    {name}: {format_value(change['to'], 200)}"
        return
    before, after = format_value(change["from"], 100), format_value(change["to"], 100)
    values = "other values" if before == after else f"{before} → {after}"
    yield f"    {name}: {values}"


def format_backfill(result: BackfillResult) -> list[str]:
    """Format a backfill, or the plan of one with the hash that carries it out."""
    verb = "would be" if result.dry_run else "are"
    lines = [f"{result.count} runs {verb} sent"]
    if result.count:
        first, last = format_cell(result.first), format_cell(result.last)
        lines.append(f"slots: {first} to {last}")
        lines.append(f"the last one is sent at {format_cell(result.last_sent_at)}")
    if result.dry_run:
        return [*lines, f"hash: {result.hash}"]
    return [*lines, f"backfill: {result.backfill}"] if result.backfill else lines
