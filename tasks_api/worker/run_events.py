"""Record results, with notices of the events in them that rules ask for.

A tenant without rules costs the lookup of a key. A run that can cause no notice is
recorded with all others; the others are recorded apart, in the transaction that writes
their notices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from uuid import UUID

from django.db import transaction

from scheduler_service.db import clock
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.domain.notices import Event
from tasks_api.domain.specs import Surface
from tasks_api.services import failing_tasks, rule_cache
from tasks_api.services.events import TaskEvent, spare_the_change, store_events
from tasks_api.services.failing_tasks import CountedEnd
from tasks_api.worker import failure_streaks
from tasks_api.worker.record import AttemptResult

_STREAK_EVENTS = frozenset({Event.TASK_FAILING, Event.TASK_RECOVERED})
_FAILURE_EVENTS = _STREAK_EVENTS | {Event.RUN_FAILED}

# The events that the rules of each tenant ask for.
Wanted = Mapping[int, frozenset[str]]


def record(results: Sequence[AttemptResult]) -> set[UUID]:
    """Like `failure_streaks.record_and_count`, with notices in the same transaction."""
    wanted = _load_wanted(results)
    watched = _find_watched(results, wanted) if wanted else set()
    if not watched:
        return failure_streaks.record_and_count(results)
    ours: set[UUID] = set()
    for group in _split(results, watched):
        if group[0].run.run_id not in watched:
            ours |= failure_streaks.record_and_count(group)
            continue
        with transaction.atomic():
            recorded = failure_streaks.record_and_count(group)
            note_results([item for item in group if item.run.run_id in recorded])
        ours |= recorded
    return ours


def note_results(results: Sequence[AttemptResult]) -> None:
    """Write the notices of results. Call it in the transaction that records them."""
    if not (wanted := _load_wanted(results)):
        return
    with spare_the_change():
        late = filter(None, map(_late_event, results))
        ended = _end_events(results, wanted)
        store_events([*late, *ended], now=clock.now())


def note_long_work(results: Sequence[AttemptResult], *, are_expired: bool) -> None:
    """Write the notices of long work that is over, in the transaction that ends it."""
    if not (wanted := _load_wanted(results)):
        return
    with spare_the_change():
        overdue = [
            _make_event(Event.RUN_OVERDUE, item, item.result.error)
            for item in results
            if are_expired
        ]
        store_events([*overdue, *_end_events(results, wanted)], now=clock.now())


def _load_wanted(results: Sequence[AttemptResult]) -> Wanted:
    rules = rule_cache.load({item.run.tenant_id for item in results})
    return {
        tenant_id: frozenset(chain.from_iterable(rule.events for rule in each))
        for tenant_id, each in rules.items()
    }


def _find_watched(results: Sequence[AttemptResult], wanted: Wanted) -> set[UUID]:
    """The runs that may cause a notice."""
    watched, succeeded = set(), []
    for item in results:
        asked_for = _asked_for(item, wanted)
        if (isinstance(item.verdict, GiveUp) and asked_for & _FAILURE_EVENTS) or (
            Event.RUN_LATE in asked_for and _late_event(item)
        ):
            watched.add(item.run.run_id)
        elif isinstance(item.verdict, Succeed) and asked_for & _STREAK_EVENTS:
            succeeded.append(item.run)
    failing = failing_tasks.find_failing({run.task_id for run in succeeded})
    # A task may fail and recover in the same batch.
    failing |= {item.run.task_id for item in results if item.run.run_id in watched}
    return watched | {run.run_id for run in succeeded if run.task_id in failing}


def _asked_for(item: AttemptResult, wanted: Wanted) -> frozenset[str]:
    if item.run.surface == Surface.NOTICES:
        return frozenset()
    return wanted.get(item.run.tenant_id, frozenset())


def _split(
    results: Sequence[AttemptResult], watched: Collection[UUID]
) -> Iterator[list[AttemptResult]]:
    """The results that are recorded together: like `record_and_count`, by their tasks."""
    groups: dict[tuple[bool, bool], list[AttemptResult]] = {}
    for item in results:
        is_watched = item.run.run_id in watched
        is_apart = is_watched and item.run.may_change_its_task
        groups.setdefault((is_watched, is_apart), []).append(item)
    yield from groups.values()


def _late_event(item: AttemptResult) -> TaskEvent | None:
    """Whether the first attempt of a run began late; the rules say from when that counts."""
    run = item.run
    late = (item.started_at - run.scheduled_for).total_seconds()
    if run.turn > 1 or late < 1 or run.redrive_of is not None:
        return None
    reason = f"sent {late:.0f} s after its time"
    return _make_event(Event.RUN_LATE, item, reason)._replace(measure=late)


def _end_events(
    results: Sequence[AttemptResult], wanted: Wanted
) -> Iterator[TaskEvent]:
    ends = [
        item
        for item in results
        if isinstance(item.verdict, GiveUp | Succeed) and _asked_for(item, wanted)
    ]
    for item in ends:
        if isinstance(item.verdict, GiveUp):
            yield _make_event(Event.RUN_FAILED, item, item.verdict.reason)
    counted = [item for item in ends if _asked_for(item, wanted) & _STREAK_EVENTS]
    yield from _count_streaks(counted)


def _count_streaks(ends: Sequence[AttemptResult]) -> Iterator[TaskEvent]:
    newest = {item.run.task_id: item for item in ends}
    counts = failing_tasks.count_ends(
        [(item.run.task_id, isinstance(item.verdict, GiveUp)) for item in ends]
    )
    for count in counts:
        yield _streak_event(newest[count.task_id], count)


def _streak_event(item: AttemptResult, count: CountedEnd) -> TaskEvent:
    if count.ended_streak:
        several = f"{count.ended_streak} failed runs"
        reason = f"after {several if count.ended_streak > 1 else 'a failed run'}"
        return _make_event(Event.TASK_RECOVERED, item, reason)
    reason = f"{count.streak} runs in a row failed"
    if isinstance(item.verdict, GiveUp):
        reason += f"; the last one: {item.verdict.reason}"
    event = _make_event(Event.TASK_FAILING, item, reason)
    return event._replace(measure=count.streak)


def _make_event(type_: Event, item: AttemptResult, reason: str) -> TaskEvent:
    run = item.run
    return TaskEvent(type_, run.tenant_id, run.task_id, reason, run.run_id)
