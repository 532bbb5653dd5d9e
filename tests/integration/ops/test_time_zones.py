"""The newer rules of time zones count, are named, and mend what older ones computed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from scheduler_service.process import time_zones
from scheduler_service.process.time_zones import (
    PACKAGED_RULES,
    UNKNOWN_VERSION,
    TimeZoneRules,
)
from scheduler_service.startup import checks
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
    first_after,
    read_cron,
)
from tasks_api.metrics import registry
from tasks_api.models import Task
from tasks_api.monitoring import collector
from tasks_api.services import pausing, recompute
from tests.integration.support.stored_tasks import HOUR, store_task

ROOT = Path(__file__).resolve().parents[3]


def test_vancouver_stays_on_summer_time_from_2026_on() -> None:
    now = datetime(2026, 11, 28, 18, tzinfo=UTC)

    schedule = read_cron("0 9 * * *", zone="America/Vancouver", now=now)

    assert first_after(schedule, now) == datetime(2026, 11, 29, 16, tzinfo=UTC)


def test_each_process_goes_by_the_newer_rules() -> None:
    program = (
        "from datetime import datetime; from zoneinfo import ZoneInfo;"
        "ZoneInfo('America/Vancouver');"
        "from scheduler_service import settings;"
        "at = datetime(2026, 12, 1, tzinfo=ZoneInfo('America/Vancouver'));"
        "print(settings.TIME_ZONE_RULES.version, at.utcoffset().total_seconds() / 3600)"
    )

    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert TimeZoneRules(said[0], "").sort_key >= PACKAGED_RULES.sort_key
    assert said[1] == "-7.0"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2025b", "2026a"),
        ("2026a", "2026f"),
        ("2026z", "2026za"),
        (UNKNOWN_VERSION, "1999a"),
    ],
)
def test_versions_are_ordered_by_their_age(older: str, newer: str) -> None:
    assert (
        TimeZoneRules(older, "machine").sort_key
        < TimeZoneRules(newer, "package").sort_key
    )


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("tzdata.zi", "# version 2027c\n# more\n", "2027c"),
        ("+VERSION", "2024a\n", "2024a"),
        ("README", "", UNKNOWN_VERSION),
    ],
)
def test_the_version_of_a_machines_files_is_read(
    tmp_path: Path, name: str, text: str, version: str
) -> None:
    (tmp_path / "Etc").mkdir()
    (tmp_path / "Etc/UTC").touch()
    (tmp_path / name).write_text(text)

    found = time_zones.find_rules([str(tmp_path / "none"), str(tmp_path)], "machine")

    assert found == (version, "machine")


def test_old_rules_of_an_operators_own_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "Etc").mkdir()
    utc = files("tzdata").joinpath("zoneinfo/Etc/UTC").read_bytes()
    (tmp_path / "Etc/UTC").write_bytes(utc)
    (tmp_path / "tzdata.zi").write_text("# version 2020a\n")

    said = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
    ).stderr  # fmt: skip

    assert "scheduler.W003" in said
    assert "IANA 2020a, by PYTHONTZPATH" in said


@pytest.mark.django_db
def test_the_rules_in_force_are_named_everywhere(client: Client) -> None:
    version = time_zones.use_newest_rules().version

    assert client.get("/readyz").json()["time_zones"] == version
    for text in (registry.exposition(), collector.exposition()):
        assert f'scheduler_time_zones{{source="{time_zones.use_newest_rules().source}",version="{version}"}} 1.0'.encode() in text  # fmt: skip
    assert checks.check_time_zones() == []
    [told] = checks.report_time_zones()
    assert version in told.msg


def command_output(*args: str) -> list[list[str]]:
    out = StringIO()
    call_command("recompute_fire_times", *args, stdout=out, stderr=StringIO())
    return [line.split("\t") for line in out.getvalue().splitlines()]


def move_by_old_rules(task: Task, late: timedelta) -> datetime:
    """Let a task have been planned by other rules; returns what is right."""
    task.refresh_from_db()
    assert task.next_fire_at is not None
    Task.objects.filter(pk=task.pk).update(next_fire_at=task.next_fire_at + late)
    return task.next_fire_at


NEW_YEAR = Recurrence("FREQ=YEARLY", datetime(2020, 1, 1, 9), "America/Vancouver")  # noqa: DTZ001 (a local time)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        (NEW_YEAR, "America/Vancouver"),
        (AnyOf((Once(datetime(2090, 1, 1, tzinfo=UTC)), NEW_YEAR)), "America/Vancouver"),
        (AnyOf((Cron("0 10 1 1 *", "Asia/Tokyo"), NEW_YEAR)), "UTC"),
    ],
)  # fmt: skip
def test_fire_times_of_rules_are_mended_too(
    user: User, schedule: Schedule, zone: str
) -> None:
    wrong = store_task(user, schedule)
    right = move_by_old_rules(wrong, HOUR)

    [found] = recompute.find_changed()

    assert (found.task_id, found.zone, found.computed) == (wrong.pk, zone, right)
    assert recompute.write_changed([wrong.pk]) == 1
    wrong.refresh_from_db()
    assert wrong.next_fire_at == right


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [HOUR, -HOUR])
def test_fire_times_by_older_rules_are_found_and_mended(
    user: User, late: timedelta
) -> None:
    wrong = store_task(user, Cron("0 9 1 1 *", "America/Vancouver"))
    right = move_by_old_rules(wrong, late)
    for schedule in (
        Cron("0 9 1 1 *", "America/Vancouver"),
        Cron("30 */2 * * *", "Europe/Berlin"),
        Cron("0 9 * * *"),
        Interval(timezone.now() + HOUR, HOUR),
    ):
        store_task(user, schedule)
    paused = store_task(user, Cron("0 9 1 1 *", "America/Vancouver"))
    pausing.pause_tasks(user, [str(paused.pk)], now=timezone.now())

    found = command_output()

    assert [(line[0], line[3], line[5]) for line in found] == [
        (str(wrong.pk), "America/Vancouver", right.isoformat().replace("+00:00", "Z"))
    ]
    wrong.refresh_from_db()
    assert wrong.next_fire_at == right + late
    assert command_output("--apply") == found
    wrong.refresh_from_db()
    assert wrong.next_fire_at == right
    assert command_output() == []


@pytest.mark.django_db(transaction=True)
def test_no_fire_time_is_made_anew_that_has_had_its_run(user: User) -> None:
    task = store_task(user, Cron("0 * * * *", "Europe/Berlin"))
    right = move_by_old_rules(task, HOUR)
    Task.objects.filter(pk=task.pk).update(last_fire_at=right)

    assert command_output("--apply") == []


@pytest.mark.django_db(transaction=True)
def test_what_would_fall_into_a_pause_is_not_made_up_for(user: User) -> None:
    now = timezone.now()
    task = store_task(user, Cron("*/5 * * * *", "Europe/Berlin"))
    pausing.pause_tasks(user, [str(task.pk)], now=now)
    Task.objects.filter(pk=task.pk).update(created_at=now - 20 * HOUR)
    pausing.resume_tasks(user, [str(task.pk)], now=now)

    assert list(recompute.find_changed()) == []
