"""Rules are read as they were written, and nothing else breaks their reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks_api.domain.cron import Dst
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rules import AnyOf, Recurrence, make_recurrence
from tasks_api.domain.schedules import Cron, Interval, Once, Part
from tasks_api.storage import stored_rules
from tasks_api.storage.stored_schedules import to_schedule, to_stored

NOON = datetime(2026, 11, 22, 12, 0, 0, 250, tzinfo=UTC)
FIRST = datetime(2026, 12, 1, 9)  # noqa: DTZ001 (a local time)
HOUR = timedelta(hours=1)
SPREAD = timedelta(seconds=7)
RULE = make_recurrence("FREQ=DAILY;COUNT=3", FIRST, "Europe/Berlin")
SEVERAL: AnyOf[Part] = AnyOf(
    (
        Once(NOON),
        Interval(NOON, HOUR, NOON + 30 * HOUR),
        Cron("0 9 * * *", "Asia/Tokyo", NOON, seconds="5", years="2027"),
        RULE,
    )
)


@pytest.mark.parametrize(
    "schedule",
    [
        RULE,
        Recurrence("FREQ=DAILY", FIRST, start=NOON, end=NOON + HOUR, offset=SPREAD),
        Recurrence("FREQ=DAILY", FIRST, "Asia/Tokyo", dst=Dst(skips_gap=True)),
        SEVERAL,
        AnyOf(SEVERAL.schedules[:2], NOON, NOON + HOUR, SPREAD),
        AnyOf((Once(NOON), Once(NOON + HOUR)), end=NOON + HOUR),
    ],
)
def test_what_is_stored_is_read_again(schedule: Recurrence | AnyOf[Part]) -> None:
    stored = to_stored(schedule, created_at=NOON)

    assert to_schedule(stored) == schedule
    # The start and the end stand in the columns, which the admin edits.
    later = stored._replace(ends_at=NOON + 99 * HOUR)
    assert to_schedule(later).end == NOON + 99 * HOUR - schedule.offset  # type: ignore[union-attr]  # no Once


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"cron_minute": "5"}, Cron("5 9 * * *", "Europe/Berlin", end=RULE.end)),
        ({"cron_zone": "UTC"}, Cron("0 9 * * *", "UTC", end=RULE.end)),
        ({"once_at": NOON, "cron_zone": ""}, Once(NOON)),
        (
            {"interval_every": 1, "interval_period": "hours", "starts_at": NOON},
            Interval(NOON, HOUR, RULE.end),
        ),
    ],
)
def test_another_stand_in_counts_alone(change: Any, expected: Part) -> None:
    stored = to_stored(RULE, created_at=NOON)

    assert to_schedule(stored._replace(**change)) == expected


@pytest.mark.parametrize(
    "schedules",
    [
        None,
        {},
        [],
        [5],
        ["every"],
        [{}],
        [{"at": "tomorrow"}],
        [{"at": NOON.isoformat()}],
        [{"every": 0, "start": NOON.isoformat()}] * 2,
        [{"every": 1}] * 2,
        [{"every": 10**30, "start": NOON.isoformat()}] * 2,
        [{"cron": ["0", "x", "*"], "zone": "UTC"}] * 2,
        [{"cron": ["0", "* * * * *"], "zone": "UTC"}] * 2,
        [{"cron": ["0", "* * * * *", "*"], "zone": "Nowhere"}] * 2,
        [{"rrule": "FREQ=NEVER", "first": FIRST.isoformat(), "zone": "UTC"}],
        [{"rrule": "FREQ=DAILY", "zone": "UTC"}],
        [{"rrule": 5, "first": FIRST.isoformat(), "zone": "UTC"}],
    ],
)
def test_rules_that_the_service_did_not_write_are_refused(schedules: object) -> None:
    text = json.dumps({"stand_in": "", "schedules": schedules})

    with pytest.raises(ScheduleError):
        stored_rules.decode(text)


@pytest.mark.parametrize("text", ["x", "[]", "5", '{"schedules": []}', "{", '"a"'])
def test_text_that_is_no_rules_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="cannot be read"):
        stored_rules.decode(text)
