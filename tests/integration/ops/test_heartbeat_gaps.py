"""Gaps in the work of workers and beats: noticed by whoever comes next, and kept once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from tasks_api.domain.why.facts import SHORTEST_GAP
from tasks_api.models import HeartbeatGap
from tasks_api.monitoring.gaps import BrokerGap, Kind, WorkNotes
from tasks_api.storage import retention
from tests.integration.support.threads import (
    run_in_threads,
)

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


def let_pass(span: timedelta) -> None:
    """Move the open gaps into the past, as if nobody had been at work since."""
    rows = HeartbeatGap.objects.filter(ended_at=None)
    rows.update(began_at=F("began_at") - span)


def gaps(kind: str = Kind.WORKER) -> list[HeartbeatGap]:
    over = HeartbeatGap.objects.filter(kind=kind, ended_at__isnull=False)
    return list(over.order_by("began_at"))


def note(kind: HeartbeatGap.Kind = Kind.WORKER) -> None:
    """What a process notes that has just started."""
    WorkNotes(kind).note()


def test_the_first_process_leaves_no_gap() -> None:
    note()

    assert gaps() == []
    assert HeartbeatGap.objects.get().ended_at is None


def test_work_without_a_gap_moves_one_row() -> None:
    note()
    [before] = HeartbeatGap.objects.all()
    let_pass(SHORTEST_GAP - SECOND)
    noted_at = timezone.now()
    note()

    [after] = HeartbeatGap.objects.all()
    assert (after.pk, after.ended_at) == (before.pk, None)
    assert after.began_at >= noted_at


def test_whoever_comes_after_a_crash_of_all_sees_how_long_it_was() -> None:
    began = timezone.now()
    note()
    let_pass(timedelta(minutes=5))
    note()
    ended = timezone.now()

    [gap] = gaps()
    assert gap.ended_at is not None
    span = gap.ended_at - gap.began_at - timedelta(minutes=5)
    assert timedelta() <= span <= ended - began
    assert not gap.is_survived
    assert HeartbeatGap.objects.filter(ended_at=None).count() == 1


def test_a_process_that_lived_before_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_api.monitoring.gaps.NOTE_INTERVAL", 0.0)
    notes = WorkNotes(Kind.WORKER)
    notes.note()
    let_pass(timedelta(minutes=5))
    notes.note()

    assert [gap.is_survived for gap in gaps()] == [True]


def test_a_process_notes_its_work_once_a_second() -> None:
    notes = WorkNotes(Kind.BEAT)
    notes.note()
    let_pass(timedelta(minutes=5))
    notes.note()

    assert gaps(Kind.BEAT) == []


def test_kinds_have_gaps_of_their_own() -> None:
    note(Kind.BEAT)
    note(Kind.WORKER)
    let_pass(timedelta(minutes=5))
    note(Kind.WORKER)

    assert gaps(Kind.BEAT) == []
    assert len(gaps(Kind.WORKER)) == 1


def test_processes_that_come_back_at_once_write_one_gap() -> None:
    note()
    let_pass(timedelta(minutes=5))

    run_in_threads(8, note)

    assert len(gaps()) == 1
    assert HeartbeatGap.objects.filter(ended_at=None).count() == 1


def test_a_start_of_postgresql_is_a_gap_however_short() -> None:
    note()
    # The server of the tests was started in that time.
    HeartbeatGap.objects.update(began_at=timezone.now() - timedelta(days=400))
    note()

    assert [gap.is_restart for gap in gaps()] == [True]


def test_the_broker_has_a_gap_while_no_bell_can_be_rung() -> None:
    gap = BrokerGap()
    gap.note(has_rung=True)
    assert not HeartbeatGap.objects.exists()
    gap.note(has_rung=False)
    gap.note(has_rung=False)
    [found] = HeartbeatGap.objects.all()
    assert (found.kind, found.ended_at) == (Kind.BROKER, None)

    # The beat that noticed it may be gone.
    BrokerGap().note(has_rung=True)

    assert len(gaps(Kind.BROKER)) == 1


def test_old_gaps_are_forgotten() -> None:
    now = timezone.now()
    for days in (31, 29):
        at = now - timedelta(days=days)
        HeartbeatGap.objects.create(kind=Kind.WORKER, began_at=at - SECOND, ended_at=at)
    note()

    gone = retention.prune(now=now, pause=lambda _: None)

    assert gone["heartbeat gap"] == 1
    assert len(gaps()) == 1
    assert HeartbeatGap.objects.filter(ended_at=None).count() == 1


@given(st.lists(st.floats(min_value=0, max_value=8), max_size=8))
@configured(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_gaps_are_the_pauses_that_were_long(pauses: list[float]) -> None:
    HeartbeatGap.objects.all().delete()
    limit = SHORTEST_GAP.total_seconds()
    # A note within half a second of another one is left out, and notes take milliseconds.
    pauses = [each for each in pauses if not limit - 1 < each < limit]
    note()
    for each in pauses:
        let_pass(timedelta(seconds=each))
        note()

    assert len(gaps()) == sum(each >= limit for each in pauses)
