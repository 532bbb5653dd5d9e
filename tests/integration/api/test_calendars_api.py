"""Calendars over the API: administrators write, members read, tasks follow them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.models import Calendar, Task
from tests.conftest import ClientFor
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    PERIODIC,
    apply_tasks,
    created,
    error,
)

pytestmark = pytest.mark.django_db

CLOSED = {
    "name": "closed",
    "zone": "Europe/Berlin",
    "dates": ["2027-05-28"],
    "ranges": [{"from": "2026-12-24", "to": "2027-01-01"}],
    "weekdays": ["sun", "sat"],
    "holidays": {"country": "DE", "subdivision": "BY"},
}
CRON = {
    "task_type": "periodic",
    "cron": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "url": "http://example.com/hook",
}


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


@pytest.fixture
def foreign_admin(stranger: User, client_for: ClientFor) -> APIClient:
    return client_for(accounts.change_user(stranger, role=Role.ADMIN))


def make(admin: APIClient, **fields: Any) -> dict[str, Any]:
    answer = admin.post("/calendars/", {**CLOSED, **fields}, format="json")
    assert answer.status_code == 201, answer.json()
    made: dict[str, Any] = answer.json()
    return made


def test_a_calendar_is_made_shown_changed_and_removed(admin: APIClient) -> None:
    made = make(admin)

    assert made.items() >= {**CLOSED, "weekdays": ["sat", "sun"]}.items()
    assert (made["version"], made["task_count"]) == (1, 0)
    assert admin.get("/calendars/closed").json() == made
    del made["task_count"]
    assert admin.get("/calendars/").json() == {"calendars": [made]}
    changed = admin.put("/calendars/closed", {"weekdays": ["fri"]}, format="json")
    assert changed.status_code == 200
    assert changed.json()["version"] == 2
    assert changed.json()["zone"] == "UTC"
    assert changed.json()["holidays"] is None
    assert admin.delete("/calendars/closed").status_code == 200
    assert admin.get("/calendars/closed").status_code == 404
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))[
        -3:
    ] == ["calendar.create", "calendar.change", "calendar.remove"]


def test_what_was_read_can_be_sent_back(admin: APIClient) -> None:
    made = make(admin)

    answer = admin.put("/calendars/closed", made, format="json")

    assert answer.status_code == 200, answer.json()
    same = ("zone", "dates", "ranges", "weekdays", "holidays")
    assert [answer.json()[name] for name in same] == [made[name] for name in same]


def test_members_read_calendars_and_do_not_write_them(
    admin: APIClient, user: User, client_for: ClientFor
) -> None:
    make(admin)
    member = client_for(user)

    assert member.get("/calendars/closed").status_code == 200
    assert member.get("/calendars/closed/days").status_code == 200
    assert member.post("/calendars/", CLOSED, format="json").status_code == 403
    assert member.put("/calendars/closed", {}, format="json").status_code == 403
    assert member.delete("/calendars/closed").status_code == 403
    answer = member.post("/calendars/closed/import", {"ics": ""}, format="json")
    assert answer.status_code == 403


def test_another_tenant_reaches_no_calendar(
    admin: APIClient, foreign_admin: APIClient
) -> None:
    make(admin)

    for path in ("", "/versions", "/days"):
        assert foreign_admin.get(f"/calendars/closed{path}").status_code == 404
    assert foreign_admin.put("/calendars/closed", {}, format="json").status_code == 404
    assert foreign_admin.delete("/calendars/closed").status_code == 404
    assert foreign_admin.get("/calendars/").json() == {"calendars": []}
    answer = foreign_admin.post(
        "/tasks/", {**CRON, "calendars": {"exclude": ["closed"]}}, format="json"
    )
    assert answer.json() == error(
        "Invalid value of calendars. There is no calendar closed"
    )
    make(foreign_admin)
    assert Calendar.objects.count() == 2


def test_a_name_that_is_taken_is_refused(admin: APIClient) -> None:
    make(admin)

    answer = admin.post("/calendars/", CLOSED, format="json")

    assert answer.status_code == 409
    assert answer.json() == error("There is a calendar closed already")


def test_a_name_may_be_in_any_language(admin: APIClient) -> None:
    make(admin, name="Betriebsferien & Feste")

    found = admin.get(f"/calendars/{quote('Betriebsferien & Feste')}/")

    assert found.json()["name"] == "Betriebsferien & Feste"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "a/b"},
            "Invalid value of name. Value should be a string of 1 to 100",
        ),
        ({"name": ""}, "Invalid value of name"),
        ({"name": 7}, "Invalid value of name"),
        ({"zone": "Mars/Olympus"}, "Invalid value of zone"),
        ({"dates": "2026-01-01"}, "Invalid value of dates. It should be a list"),
        ({"dates": ["2026-02-30"]}, "Invalid value of dates. Value should be a day"),
        ({"dates": ["20260101"]}, "Invalid value of dates"),
        ({"dates": ["9999-12-31"]}, "Invalid value of dates"),
        ({"dates": [None]}, "Invalid value of dates"),
        (
            {"dates": ["2026-01-01"] * 3001},
            "Invalid value of dates. It should be a list",
        ),
        ({"ranges": [{}]}, "Invalid value of ranges[0].from"),
        ({"ranges": ["x"]}, "Invalid value of ranges[0]"),
        (
            {"ranges": [{"from": "2026-01-02", "to": "2026-01-01"}]},
            "Invalid value of ranges[0]. It ends before it begins",
        ),
        (
            {"ranges": [{"from": "2026-01-02", "to": "2026-01-03T00:00:00Z"}]},
            "Invalid value of ranges[0].from",
        ),
        ({"weekdays": ["monday"]}, "Invalid value of weekdays"),
        ({"weekdays": {"mon": 1}}, "Invalid value of weekdays"),
        ({"holidays": "DE"}, "Invalid value of holidays"),
        ({"holidays": {"country": "XX"}}, "Invalid value of holidays.country"),
        ({"holidays": {}}, "Missing key: holidays.country"),
        (
            {"holidays": {"country": "DE", "subdivision": "ZZ"}},
            "Invalid value of holidays.subdivision. DE has BB",
        ),
        ({"weekday": []}, "Unknown field: weekday. Did you mean weekdays?"),
        ({"holidays": {"land": "BY"}}, "Unknown field: holidays.land"),
    ],
)
def test_wrong_content_is_refused_by_its_field(
    admin: APIClient, fields: dict[str, Any], message: str
) -> None:
    answer = admin.post("/calendars/", {**CLOSED, **fields}, format="json")

    assert answer.status_code == 400, answer.json()
    assert answer.json()["error"]["message"].startswith(message)
    assert not Calendar.objects.exists()


def test_versions_and_days_are_listed(admin: APIClient) -> None:
    make(admin)
    for day in ("2027-02-01", "2027-03-01"):
        admin.put("/calendars/closed", {"dates": [day]}, format="json")

    versions = admin.get("/calendars/closed/versions?limit=2")
    further = admin.get(versions["Link"].split(">")[0].removeprefix("<"))

    assert [each["version"] for each in versions.json()["versions"]] == [3, 2]
    assert versions.json()["versions"][0]["created_by"] == "adam"
    assert [each["version"] for each in further.json()["versions"]] == [1]
    days = admin.get("/calendars/closed/days?from=2027-01-01&to=2027-12-31").json()
    assert days == {
        "version": 3,
        "zone": "UTC",
        "days": [{"day": "2027-03-01", "whole": True, "holiday": None}],
    }


@pytest.mark.parametrize(
    "query", ["from=x", "from=2027-01-01&to=2026-01-01", "to=2099-01-01", "until=1"]
)
def test_a_wrong_span_of_days_is_refused(admin: APIClient, query: str) -> None:
    make(admin)

    assert admin.get(f"/calendars/closed/days?{query}").status_code == 400


def test_a_task_shows_its_calendars_and_keeps_them_when_it_is_patched(
    admin: APIClient,
) -> None:
    make(admin)
    given = {"exclude": ["closed"], "on_excluded": "next_business_day"}

    task = created(admin, {**CRON, "calendars": given})

    assert task["calendars"] == given
    assert admin.get("/calendars/closed").json()["task_count"] == 1
    path = f"/tasks/id/{task['id']}"
    same = admin.patch(path, {"tags": ["a"]}, format="json")
    assert same.json()["calendars"] == given
    version = Task.objects.get().version
    put = admin.put(f"/tasks/by-name/{'x'}", {**CRON, "name": "x"}, format="json")
    assert "calendars" not in put.json()
    gone = admin.patch(path, {"calendars": None}, format="json")
    assert "calendars" not in gone.json()
    assert Task.objects.get(pk=task["id"]).version == version + 1
    assert admin.delete("/calendars/closed").status_code == 200


def test_a_calendar_in_use_is_not_removed(admin: APIClient) -> None:
    make(admin)
    for _ in range(2):
        created(admin, {**CRON, "calendars": {"hold": ["closed"], "pace": "20/minute"}})

    answer = admin.delete("/calendars/closed")

    assert answer.status_code == 409
    assert answer.json() == error(
        "2 tasks follow this calendar; take it from them first"
    )


def test_tasks_without_calendars_show_none(api: APIClient) -> None:
    assert "calendars" not in created(api, PERIODIC)
    assert "calendars" not in created(api, {**CRON, "calendars": {}})


@pytest.mark.parametrize(
    ("body", "calendars", "message"),
    [
        (CRON, [], "Invalid value of calendars. It should be an object"),
        (CRON, {"exclude": "closed"}, "Invalid value of calendars.exclude"),
        (CRON, {"exclude": ["closed"] * 11}, "Invalid value of calendars.exclude"),
        (CRON, {"only": [1]}, "Invalid value of calendars.only"),
        (CRON, {"exclude": ["holiday"]}, "Invalid value of calendars. There is no"),
        (
            CRON,
            {"exclude": ["closed"], "on_excluded": "later"},
            "Invalid value of calendars.on_excluded",
        ),
        (
            CRON,
            {"hold": ["closed"], "on_excluded": "next_business_day"},
            "Invalid value of calendars.on_excluded. It goes with exclude or only",
        ),
        (CRON, {"hold": ["closed"], "pace": "fast"}, "Invalid value of calendars.pace"),
        (CRON, {"hold": ["closed"], "pace": 20}, "Invalid value of calendars.pace"),
        (
            CRON,
            {"exclude": ["closed"], "pace": "1/hour"},
            "Invalid value of calendars.pace. It goes with hold",
        ),
        (
            {**CRON, "cron": "*/5 * * * *"},
            {"exclude": ["closed"], "on_excluded": "previous_business_day"},
            "Invalid value of calendars.on_excluded. It goes with a schedule that fires",
        ),
        (
            {**CRON, "overlap": "queue_one"},
            {"hold": ["closed"]},
            "Invalid value of calendars.hold. It goes with overlap allow or skip",
        ),
        (
            ONE_TIME,
            {"exclude": ["closed"]},
            "Invalid value of calendars. It goes with a",
        ),
        (CRON, {"excludes": ["closed"]}, "Unknown field: calendars.excludes"),
        (
            {**CRON, "cron": "0 9 * * 6"},
            {"exclude": ["closed"]},
            "Invalid value of calendars. It never fires again.",
        ),
    ],
)
def test_wrong_calendars_of_a_task_are_refused(
    admin: APIClient, body: dict[str, Any], calendars: object, message: str
) -> None:
    make(admin)

    answer = admin.post("/tasks/", {**body, "calendars": calendars}, format="json")

    assert answer.status_code == 400, answer.json()
    assert answer.json()["error"]["message"].startswith(message)
    assert not Task.objects.exists()


def test_the_preview_names_the_calendar_of_each_fire_time(admin: APIClient) -> None:
    make(admin, dates=[], ranges=[], holidays=None)
    body = {**CRON, "from": "2027-01-08T00:00:00Z", "n": 2}

    skipped = admin.post(
        "/tasks/preview/", {**body, "calendars": {"exclude": ["closed"]}}, format="json"
    ).json()

    by = {"calendar": "closed", "version": 1}
    shown = [(each["at"], each.get("excluded_by")) for each in skipped["fire_times"]]
    assert shown == [
        ("2027-01-08T08:00:00Z", None),
        (None, by),
        (None, by),
        ("2027-01-11T08:00:00Z", None),
    ]
    assert skipped["fire_times"][1]["local"] == "2027-01-09T09:00:00+01:00"
    weekly = {**body, "cron": "0 9 * * 6", "n": 1}
    moving = {"exclude": ["closed"], "on_excluded": "next_business_day"}
    moved = admin.post(
        "/tasks/preview/", {**weekly, "calendars": moving}, format="json"
    )
    [each] = moved.json()["fire_times"]
    assert each == {
        "at": "2027-01-11T08:00:00Z",
        "local": "2027-01-11T09:00:00+01:00",
        "dst": None,
        "moved_from": "2027-01-09T08:00:00Z",
        "moved_by": by,
    }


def test_the_coming_fire_times_of_a_stored_task_follow_its_calendars(
    admin: APIClient,
) -> None:
    make(admin, dates=[], ranges=[], holidays=None)
    task = created(admin, {**CRON, "calendars": {"only": ["closed"]}})

    found = admin.get(f"/tasks/{task['id']}/next?n=4").json()["fire_times"]

    fires = [datetime.fromisoformat(each["at"]) for each in found if each["at"]]
    assert [at.weekday() in (5, 6) for at in fires] == [True] * 4
    left = [each for each in found if each["at"] is None]
    assert {each["excluded_by"]["calendar"] for each in left} == {"closed"}
    listed = task["next_run_datetime"].replace(" ", "T") + "Z"
    assert listed == next(each["at"] for each in found if each["at"])


def test_the_account_counts_excluded_fire_times_of_tasks_on_calendars_alone(
    admin: APIClient,
) -> None:
    make(admin)
    plain = created(admin, CRON)
    task = created(admin, {**CRON, "calendars": {"exclude": ["closed"]}})

    assert "excluded" not in admin.get(f"/tasks/{plain['id']}/account").json()
    account = admin.get(f"/tasks/{task['id']}/account").json()
    assert (account["excluded"], account["excluded_times"]) == (0, [])


def test_a_list_of_tasks_is_applied_with_calendars(admin: APIClient) -> None:
    make(admin)
    listed = [{**CRON, "name": "a", "calendars": {"exclude": ["closed"]}}]

    first = apply_tasks(admin, listed).json()
    second = apply_tasks(admin, listed).json()

    assert [step["action"] for step in first["tasks"]] == ["create"]
    assert [step["action"] for step in second["tasks"]] == ["keep"]
    third = apply_tasks(admin, [{**CRON, "name": "a"}]).json()
    assert [step["action"] for step in third["tasks"]] == ["change"]


def test_tasks_in_bulk_follow_calendars(admin: APIClient) -> None:
    make(admin)
    bodies = [{**CRON, "calendars": {"exclude": ["closed"]}}, CRON]

    assert admin.post("/tasks/bulk/", bodies, format="json").status_code == 201
    assert Task.objects.exclude(calendars="").count() == 1


def test_an_event_file_becomes_dates_and_ranges(admin: APIClient) -> None:
    make(admin)
    ics = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n"
        "BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20300101\r\nEND:VEVENT\r\n"
        "BEGIN:VEVENT\r\nDTSTART:20300301T220000\r\nDURATION:PT8H\r\nEND:VEVENT\r\n"
        "END:VCALENDAR\r\n"
    )

    answer = admin.post("/calendars/closed/import/", {"ics": ics}, format="json")

    assert answer.status_code == 200, answer.json()
    assert answer.json()["version"] == 2
    assert answer.json()["dates"] == ["2030-01-01"]
    assert answer.json()["ranges"] == [
        {"from": "2030-03-01T21:00:00Z", "to": "2030-03-02T05:00:00Z"}
    ]
    assert answer.json()["weekdays"] == ["sat", "sun"]


def test_a_file_that_is_none_changes_nothing(admin: APIClient) -> None:
    make(admin)

    for ics in ("", "PK\x03\x04", 7, None, "BEGIN:VCALENDAR", "x" * 300_000):
        answer = admin.post("/calendars/closed/import/", {"ics": ics}, format="json")
        assert answer.status_code == 400, ics
    assert Calendar.objects.get().version == 1


def test_a_tenant_has_a_limited_number_of_calendars(
    admin: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.calendars.MAX_CALENDARS", 1)
    make(admin)

    answer = admin.post("/calendars/", {"name": "more"}, format="json")

    assert answer.status_code == 409
    assert answer.json() == error("A tenant has at most 1 calendars")


def test_days_default_to_a_year_from_today(admin: APIClient) -> None:
    make(admin, weekdays=["mon"], dates=[], ranges=[], holidays=None)

    days = admin.get("/calendars/closed/days").json()["days"]

    assert len(days) in (52, 53)
    first = datetime.fromisoformat(days[0]["day"]).replace(tzinfo=UTC)
    assert abs(first - datetime.now(tz=UTC)) < timedelta(days=8)
