"""Runs that wait because a calendar of their task holds them back at this moment."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_api.domain.states import RunState
from tasks_api.services import held_runs
from tasks_api.services.held_runs import HeldRun
from tasks_api.storage.calendar_rules import HOLD_MARK, rules_of
from tasks_api.storage.run_rows import NewRun
from tasks_api.taking.decisions import DueTask


def hold_back(tasks: Sequence[DueTask], runs: Sequence[NewRun]) -> list[NewRun]:
    """Return the runs, those that are held back with their place after the hold."""
    holding = {
        task.task_id: task for task in tasks if HOLD_MARK in task.stored.calendars
    }
    found = {}
    for run in sorted(runs, key=lambda run: run.scheduled_for):
        task = holding.get(run.task_id)
        if task is None or run.state != RunState.PENDING:
            continue
        rules = rules_of(task.stored.calendars)
        if hold := rules.held(task.now):
            held = HeldRun(run.run_id, hold.calendar.calendar_id, rules)
            found[run.run_id] = held, held_runs.reason_of(hold.calendar.name)
    if not found:
        return list(runs)
    places = held_runs.find_release_times(
        [held for held, _ in found.values()], now=tasks[0].now
    )
    return [
        run._replace(reason=found[run.run_id][1], wake_at=places[run.run_id])
        if run.run_id in found
        else run
        for run in runs
    ]
