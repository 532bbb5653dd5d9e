"""Tasks with recurrence rules and with several schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask
from rest_framework.test import APIClient

from accounts.models import AuditEntry
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.models import ScheduleChange, Task
from tasks_api.services import admin_edits
from tasks_api.services.coming import schedule_of
from tests.integration.support.tasks_surface import (
    actions_of,
    apply_tasks,
    changed,
    created,
)

pytestmark = pytest.mark.django_db

BASE = {"task_type": "periodic", "url": "http://a.example/x"}
LINES = "DTSTART;TZID=Europe/Berlin:20901204T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE"
RRULE = BASE | {"rrule": LINES}
SEVERAL = BASE | {
    "schedules": [
        {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
        {"cron": "0 11 * * SAT", "timezone": "Europe/Berlin"},
        {"run_datetime": "2090-12-24T18:00:00", "timezone": "Europe/Berlin"},
    ]
}


def stored() -> Task:
    return Task.objects.with_schedule().get()


def next_of(api: APIClient, task_id: str, n: int = 4) -> dict[str, Any]:
    shown: dict[str, Any] = api.get(f"/tasks/{task_id}/next/?n={n}").json()
    return shown


def refusal(api: APIClient, changes: dict[str, Any]) -> str:
    answer = api.post("/tasks/", changed(BASE, changes), format="json")
    assert answer.status_code == 400, answer.json()
    assert not Task.objects.exists()
    return str(answer.json()["error"]["message"])


def test_a_task_may_fire_by_a_recurrence_rule(api: APIClient) -> None:
    shown = created(api, RRULE)

    assert shown["rrule"] == LINES
    assert (shown["frequency"], shown["timezone"]) == (None, "Europe/Berlin")
    assert (shown["start_datetime"], shown["end_datetime"]) == (None, None)
    assert shown["next_run_datetime"] == "2090-12-04 08:00:00"
    found = next_of(api, shown["id"])
    assert found["timezone"] == "Europe/Berlin"
    assert [each["local"] for each in found["fire_times"]] == [
        "2090-12-04T09:00:00+01:00",
        "2090-12-06T09:00:00+01:00",
        "2090-12-11T09:00:00+01:00",
        "2090-12-13T09:00:00+01:00",
    ]


def test_a_start_with_a_zone_is_the_start_of_a_rule(api: APIClient) -> None:
    fields = {"rrule": "RRULE:FREQ=DAILY", "timezone": "Europe/Berlin"}
    local = created(api, BASE | fields | {"start_datetime": "2090-12-04T09:00:00"})
    instant = created(api, BASE | fields | {"start_datetime": "2090-12-04T08:00:00Z"})

    lines = "DTSTART;TZID=Europe/Berlin:20901204T090000\nRRULE:FREQ=DAILY"
    assert local["rrule"] == instant["rrule"] == lines
    assert local["start_datetime"] is None


def test_the_admin_shows_the_nearest_crontab(api: APIClient) -> None:
    created(api, RRULE)

    crontab = CrontabSchedule.objects.get()
    assert str(crontab.timezone) == "Europe/Berlin"
    fields = crontab.minute, crontab.hour, crontab.day_of_month, crontab.day_of_week
    assert fields == ("0", "9", "*", "1,3")


@pytest.mark.parametrize(
    ("rule", "crontab"),
    [
        ("FREQ=DAILY;BYHOUR=9,17;BYMINUTE=30", "30 9,17 * * *"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "15 8 * * 5"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "15 8 * * *"),
        ("FREQ=MONTHLY", "15 8 4 * *"),
        ("FREQ=YEARLY", "15 8 4 12 *"),
        ("FREQ=YEARLY;BYMONTH=1,7;BYMONTHDAY=1", "15 8 1 1,7 *"),
        ("FREQ=HOURLY;INTERVAL=5", "15 * * * *"),
        ("FREQ=MINUTELY;INTERVAL=7;BYHOUR=9", "* 9 * * *"),
        ("FREQ=WEEKLY", "15 8 * * 1"),
    ],
)
def test_the_stand_in_of_a_rule(api: APIClient, rule: str, crontab: str) -> None:
    created(api, BASE | {"rrule": f"DTSTART:20901204T081500Z\nRRULE:{rule}"})

    row = CrontabSchedule.objects.get()
    fields = (row.minute, row.hour, row.day_of_month, row.month_of_year)
    assert " ".join((*fields, row.day_of_week)) == crontab


def test_a_task_may_have_several_schedules(api: APIClient) -> None:
    shown = created(api, SEVERAL)

    once = {"run_datetime": "2090-12-24 17:00:00"}
    assert shown["schedules"] == [*SEVERAL["schedules"][:2], once]
    assert shown["frequency"] is None
    assert "cron" not in shown
    schedule = schedule_of(stored())
    assert isinstance(schedule, AnyOf)
    found = next_of(api, shown["id"], 6)["fire_times"]
    times = [datetime.fromisoformat(each["local"]) for each in found]
    assert times == sorted(times)
    saturdays = [at for at in times if at.weekday() == 5]
    assert {(at.hour, at.minute) for at in saturdays} <= {(11, 0)}
    assert {at.hour for at in times if at.weekday() < 5} == {9}


def test_several_single_moments_are_a_task_that_ends(api: APIClient) -> None:
    moments = ["2090-12-31 18:00:00", "2090-12-24 18:00:00"]
    entries = [{"run_datetime": each} for each in moments]
    shown = created(api, BASE | {"schedules": entries})

    found = next_of(api, shown["id"])["fire_times"]
    assert [each["at"] for each in found] == [
        "2090-12-24T18:00:00Z",
        "2090-12-31T18:00:00Z",
    ]
    assert stored().ends_at == datetime(2090, 12, 31, 18, tzinfo=UTC)
    # The end follows from the schedules, and nobody gave one.
    assert shown["end_datetime"] is None


def test_a_start_and_an_end_bound_all_schedules(api: APIClient) -> None:
    bounds = {
        "start_datetime": "2090-12-02 12:00:00",
        "end_datetime": "2090-12-04 07:59:00",
    }
    entries = [{"cron": "0 8 * * *"}, {"cron": "0 20 * * *"}]
    shown = created(api, BASE | {"schedules": entries} | bounds)

    found = next_of(api, shown["id"])["fire_times"]
    assert [each["at"] for each in found] == [
        "2090-12-02T20:00:00Z",
        "2090-12-03T08:00:00Z",
        "2090-12-03T20:00:00Z",
    ]
    assert {name: shown[name] for name in bounds} == bounds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rrule": 5}, "Invalid value of rrule. Value should be a string"),
        ({"rrule": "FREQ=DAILY"}, "Invalid value of rrule. It needs a DTSTART, or a start_datetime beside it."),
        ({"rrule": "FREQ=NEVER"}, "Invalid value of rrule. FREQ should be one of"),
        ({"rrule": LINES, "cron": "@daily"}, "A task has either rrule or cron"),
        ({"rrule": LINES, "frequency": 3600}, "A task has either rrule or frequency"),
        ({"rrule": LINES, "timezone": "UTC"}, "It names two time zones, Europe/Berlin and UTC."),
        ({"rrule": "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=3"}, "Invalid value of rrule. It never fires again."),
        ({"rrule": "DTSTART:20900101T000000\nRRULE:FREQ=DAILY;UNTIL=20200101"}, "Its UNTIL is before its DTSTART."),
        ({"rrule": "DTSTART:18990101T000000\nRRULE:FREQ=DAILY"}, "Its DTSTART is before 1900."),
        ({"rrule": "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"}, "Invalid value of rrule. Its next fire time takes too long to compute."),
        ({"rrule": "DTSTART:20200101T000000\nRRULE:FREQ=MINUTELY;INTERVAL=90;BYHOUR=1;BYMINUTE=15"}, "Invalid value of rrule. It never fires again."),
        ({"schedules": []}, "Invalid value of schedules. It should be a list of 2 to 10 schedules"),
        ({"schedules": [{"cron": "@daily"}]}, "should be a list of 2 to 10 schedules"),
        ({"schedules": [{"cron": "@daily"}] * 11}, "should be a list of 2 to 10 schedules"),
        ({"schedules": {"cron": "@daily"}}, "should be a list of 2 to 10 schedules"),
        ({"schedules": [{"cron": "@daily"}, 5]}, "schedules[1]: Value should be an object"),
        ({"schedules": [{"cron": "@daily"}, {}]}, "schedules[1]: It has one of frequency, cron, rrule or run_datetime"),
        ({"schedules": [{"cron": "@daily", "frequency": 3600}, {"cron": "@daily"}]}, "schedules[0]: It has one of"),
        ({"schedules": [{"cron": "@daily"}, {"crn": "@daily"}]}, "schedules[1]: "),
        ({"schedules": [{"cron": "@daily"}, {"schedules": []}]}, "schedules[1]: "),
        ({"schedules": [{"cron": "@daily"}, {"cron": "61 * * * *"}]}, "schedules[1]: Invalid value of cron."),
        ({"schedules": [{"cron": "@daily"}, {"frequency": 0}]}, "schedules[1]: Invalid value of frequency."),
        ({"schedules": [{"cron": "@daily"}, {"run_datetime": "2020-01-01 00:00:00"}]}, "schedules[1]: run_datetime should be in future"),
        ({"schedules": [{"cron": "@daily"}, {"rrule": "FREQ=DAILY"}]}, "schedules[1]: Invalid value of rrule. It needs a DTSTART"),
        ({"schedules": SEVERAL["schedules"], "rrule": LINES}, "A task has either schedules or rrule"),
        ({"schedules": SEVERAL["schedules"], "cron": "@daily"}, "A task has either schedules or cron"),
        ({"schedules": SEVERAL["schedules"], "timezone": "UTC"}, "A task has either schedules or timezone"),
        ({"schedules": [{"frequency": 3600}, {"frequency": 7200}], "dst": {"gap": "skip"}}, "It goes with a cron expression or an rrule"),
        ({"schedules": [{"cron": "@daily"}, {"frequency": 3600}], "spread": 3600}, "It should be less than frequency"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_rules_is_said(
    api: APIClient, changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(api, changes)


def test_rules_obey_the_least_interval(api: APIClient, settings: LazySettings) -> None:
    settings.SCHEDULER_MIN_CRON_INTERVAL = 60
    often = "DTSTART:20200101T000000\nRRULE:FREQ=SECONDLY;INTERVAL=30"

    why = "Invalid value of rrule. It fires more often than every 60 s."
    assert refusal(api, {"rrule": often}) == why
    entries = [{"cron": "@daily"}, {"rrule": often}]
    assert refusal(api, {"schedules": entries}) == f"schedules[1]: {why}"
    created(api, BASE | {"rrule": often.replace("30", "60")})


def test_a_change_from_a_rule_to_schedules_is_in_the_audit_log(api: APIClient) -> None:
    shown = created(api, RRULE)
    answer = api.patch(
        f"/tasks/id/{shown['id']}", {"schedules": SEVERAL["schedules"]}, format="json"
    )

    assert answer.status_code == 200, answer.json()
    assert AuditEntry.objects.filter(action="task.change").count() == 1
    after = api.get(f"/tasks/{shown['id']}").json()
    assert "rrule" not in after
    assert len(after["schedules"]) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "0 7 * * *"},
        {"frequency": 7200},
        {"task_type": "one_time", "run_datetime": "2090-01-01 00:00:00"},
    ],
)
@pytest.mark.parametrize("body", [RRULE, SEVERAL])
def test_a_change_to_another_kind_removes_the_rules(
    api: APIClient, body: dict[str, Any], change: dict[str, Any]
) -> None:
    shown = created(api, body)

    answer = api.patch(f"/tasks/id/{shown['id']}", change, format="json")

    assert answer.status_code == 200, answer.json()
    after = api.get(f"/tasks/{shown['id']}").json()
    assert not after.keys() & {"rrule", "schedules"}
    assert stored().rules == ""
    back = {"rrule": LINES, "task_type": "periodic"}
    assert api.patch(f"/tasks/id/{shown['id']}", back, format="json").status_code == 200
    assert api.get(f"/tasks/{shown['id']}").json()["rrule"] == LINES


def test_a_longer_rule_does_not_keep_the_end_of_the_shorter_one(api: APIClient) -> None:
    start = "DTSTART:20901201T000000Z\nRRULE:FREQ=DAILY;COUNT="
    shown = created(api, BASE | {"rrule": f"{start}3"})

    api.patch(f"/tasks/id/{shown['id']}", {"rrule": f"{start}5"}, format="json")

    assert len(next_of(api, shown["id"], 20)["fire_times"]) == 5
    assert stored().ends_at == datetime(2090, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize("body", [RRULE, SEVERAL])
def test_a_pause_keeps_the_rules(api: APIClient, body: dict[str, Any]) -> None:
    shown = created(api, body)

    api.post(f"/tasks/{shown['id']}/pause/")
    api.post(f"/tasks/{shown['id']}/resume/")

    assert api.get(f"/tasks/{shown['id']}").json() == shown


@pytest.mark.parametrize("body", [RRULE, SEVERAL])
def test_an_operator_who_edits_the_end_keeps_the_rules(
    api: APIClient, body: dict[str, Any]
) -> None:
    shown = created(api, body)
    end = datetime(2090, 12, 11, 8, tzinfo=UTC)

    PeriodicTask.objects.filter(http_task=shown["id"]).update(expires=end)
    admin_edits.sync_admin_edits([Task.objects.get().pk])

    task = stored()
    assert (task.ends_at, task.rules != "") == (end, True)
    schedule = schedule_of(task)
    assert isinstance(schedule, AnyOf | Recurrence)
    assert schedule.end == end
    assert ScheduleChange.objects.get().rules == task.rules


@pytest.mark.parametrize("body", [RRULE, SEVERAL])
def test_an_operator_who_replaces_the_stand_in_replaces_the_rules(
    api: APIClient, body: dict[str, Any]
) -> None:
    shown = created(api, body)
    crontab = CrontabSchedule.objects.create(minute="5", hour="6", timezone="UTC")

    PeriodicTask.objects.filter(http_task=shown["id"]).update(crontab=crontab)
    # The new schedule counts even before a beat has followed the edit.
    assert schedule_of(stored()) == Cron("5 6 * * *", "UTC")
    admin_edits.sync_admin_edits([Task.objects.get().pk])

    task = stored()
    assert task.rules == ""
    assert task.next_fire_at is not None
    assert (task.next_fire_at.hour, task.next_fire_at.minute) == (6, 5)
    assert ScheduleChange.objects.get().rules != ""
    assert api.get(f"/tasks/{shown['id']}").json()["cron"] == "5 6 * * *"


def test_an_interval_stands_in_for_schedules_that_begin_with_one(
    api: APIClient,
) -> None:
    entries = [{"frequency": 7200}, {"cron": "@daily"}]
    shown = created(api, BASE | {"schedules": entries})

    task = stored()
    assert (task.interval_every, task.interval_period) == (7200, "seconds")
    PeriodicTask.objects.filter(http_task=shown["id"]).update(
        interval=None,
        clocked=ClockedSchedule.objects.create(clocked_time=timezone.now()),
        one_off=True,
    )
    admin_edits.sync_admin_edits([task.pk])
    assert stored().rules == ""


def test_schedules_of_a_list_are_kept_when_some_are_over(api: APIClient) -> None:
    def task_at(moment: str) -> dict[str, Any]:
        rule = f"DTSTART:{moment}0101T000000Z\nRRULE:FREQ=DAILY;COUNT=1"
        once = {"run_datetime": f"{moment}-01-01T00:00:00Z"}
        entries = [once, {"frequency": 7200}, {"rrule": rule}]
        return BASE | {"name": "a", "schedules": entries}

    assert actions_of(apply_tasks(api, [task_at("2090")])) == {"a": "create"}
    assert actions_of(apply_tasks(api, [task_at("2090")])) == {"a": "keep"}

    # The moments of two schedules pass.
    row = stored()
    row.rules = row.rules.replace("2090-", "2020-")
    row.save(update_fields=["rules"])

    assert actions_of(apply_tasks(api, [task_at("2020")])) == {"a": "keep"}


@pytest.mark.parametrize(
    "fields",
    [
        {"rrule": "DTSTART:20200101T000000Z\nRRULE:FREQ=DAILY;COUNT=2"},
        {"schedules": [{"run_datetime": "2020-01-01 00:00:00"}, {"run_datetime": "2021-01-01 00:00:00"}]},
    ],
)  # fmt: skip
def test_rules_of_a_list_that_are_over_are_left_alone(
    api: APIClient, fields: dict[str, Any]
) -> None:
    assert actions_of(apply_tasks(api, [BASE | {"name": "a"} | fields])) == {
        "a": "over"
    }


def test_the_first_fire_time_is_after_the_creation(api: APIClient) -> None:
    created(api, BASE | {"schedules": [{"cron": "* * * * *"}, {"frequency": 7200}]})

    task = stored()
    assert task.next_fire_at is not None
    assert task.created_at < task.next_fire_at <= task.created_at + timedelta(minutes=1)
    schedule = schedule_of(task)
    assert isinstance(schedule, AnyOf)
    assert isinstance(schedule.schedules[1], Interval)
