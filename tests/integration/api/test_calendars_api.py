"""Calendars over the API: administrators write, members read, tasks follow them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.models import Calendar
from tests.conftest import ClientFor
from tests.integration.support.calendars_surface import CLOSED, CRON, make_calendar
from tests.integration.support.tasks_surface import (
    error,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


@pytest.fixture
def foreign_admin(stranger: User, client_for: ClientFor) -> APIClient:
    return client_for(accounts.change_user(stranger, role=Role.ADMIN))


def test_a_calendar_is_made_shown_changed_and_removed(admin: APIClient) -> None:
    made = make_calendar(admin)

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
    made = make_calendar(admin)

    answer = admin.put("/calendars/closed", made, format="json")

    assert answer.status_code == 200, answer.json()
    same = ("zone", "dates", "ranges", "weekdays", "holidays")
    assert [answer.json()[name] for name in same] == [made[name] for name in same]


def test_members_read_calendars_and_do_not_write_them(
    admin: APIClient, user: User, client_for: ClientFor
) -> None:
    make_calendar(admin)
    member = client_for(user)

    assert member.get("/calendars/closed").status_code == 200
    assert member.get("/calendars/closed/days").status_code == 200
    assert member.post("/calendars/", CLOSED, format="json").status_code == 403
    assert member.put("/calendars/closed", {}, format="json").status_code == 403
    assert member.delete("/calendars/closed").status_code == 403
    for path, body in (("import", {"ics": ""}), ("preview", {})):
        answer = member.post(f"/calendars/closed/{path}", body, format="json")
        assert answer.status_code == 403


def test_another_tenant_reaches_no_calendar(
    admin: APIClient, foreign_admin: APIClient
) -> None:
    make_calendar(admin)

    for path in ("", "/versions", "/days"):
        assert foreign_admin.get(f"/calendars/closed{path}").status_code == 404
    assert foreign_admin.put("/calendars/closed", {}, format="json").status_code == 404
    assert foreign_admin.delete("/calendars/closed").status_code == 404
    preview = foreign_admin.post("/calendars/closed/preview", {}, format="json")
    assert preview.status_code == 404
    assert foreign_admin.get("/calendars/").json() == {"calendars": []}
    answer = foreign_admin.post(
        "/tasks/", {**CRON, "calendars": {"exclude": ["closed"]}}, format="json"
    )
    assert answer.json() == error(
        "Invalid value of calendars. There is no calendar closed"
    )
    make_calendar(foreign_admin)
    assert Calendar.objects.count() == 2


def test_a_name_that_is_taken_is_refused(admin: APIClient) -> None:
    make_calendar(admin)

    answer = admin.post("/calendars/", CLOSED, format="json")

    assert answer.status_code == 409
    assert answer.json() == error("There is a calendar closed already")


def test_a_name_may_be_in_any_language(admin: APIClient) -> None:
    make_calendar(admin, name="Betriebsferien & Feste")

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
    make_calendar(admin)
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
    make_calendar(admin)

    assert admin.get(f"/calendars/closed/days?{query}").status_code == 400


def test_an_event_file_becomes_dates_and_ranges(admin: APIClient) -> None:
    make_calendar(admin)
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


def test_a_preview_says_what_a_change_would_do(admin: APIClient) -> None:
    make_calendar(admin, dates=[], ranges=[], weekdays=[], holidays=None)
    body = {**CRON, "calendars": {"exclude": ["closed"]}, "name": "nightly"}
    task = admin.post("/tasks/", body, format="json").json()
    wrong = {"weekdays": ["someday"]}

    answer = admin.post(
        "/calendars/closed/preview/", {"weekdays": ["sat"]}, format="json"
    )
    refused = admin.post("/calendars/closed/preview/", wrong, format="json")

    found = answer.json()
    assert (found["task_count"], found["compared"], found["changed"]) == (1, 1, 1)
    [effect] = found["effects"]
    assert (effect["id"], effect["name"]) == (task["id"], "nightly")
    assert found["dropped"] == effect["dropped"] > 0
    assert (found["added"], found["held"], found["released"]) == (0, 0, 0)
    assert refused.status_code == 400
    assert Calendar.objects.get().version == 1


def test_a_file_that_is_none_changes_nothing(admin: APIClient) -> None:
    make_calendar(admin)

    for ics in ("", "PK\x03\x04", 7, None, "BEGIN:VCALENDAR", "x" * 300_000):
        answer = admin.post("/calendars/closed/import/", {"ics": ics}, format="json")
        assert answer.status_code == 400, ics
    assert Calendar.objects.get().version == 1


def test_a_tenant_has_a_limited_number_of_calendars(
    admin: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.calendars.MAX_CALENDARS", 1)
    make_calendar(admin)

    answer = admin.post("/calendars/", {"name": "more"}, format="json")

    assert answer.status_code == 409
    assert answer.json() == error("A tenant has at most 1 calendars")


def test_days_default_to_a_year_from_today(admin: APIClient) -> None:
    make_calendar(admin, weekdays=["mon"], dates=[], ranges=[], holidays=None)

    days = admin.get("/calendars/closed/days").json()["days"]

    assert len(days) in (52, 53)
    first = datetime.fromisoformat(days[0]["day"]).replace(tzinfo=UTC)
    assert abs(first - datetime.now(tz=UTC)) < timedelta(days=8)
