"""The calendar counts what was and what is to come, and leads to the lists of both."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime, time, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.models import Task
from tasks_api.services import coming_tasks, pausing
from tests.conftest import ClientFor, MakeTask
from tests.integration.services.test_forecast import RandomTasks
from tests.integration.support.logins import browser_of
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
# A cell with a number: its list, what it says, and the number.
CELL = re.compile(
    r'<a class="heat-\d" href="([^"]+)" title="([^"]+)"><span>(\d+)</span></a>'
)


def open_page(user: User, path: str) -> str:
    answer = browser_of(user).get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def cells_of(page: str) -> list[tuple[str, str, int]]:
    return [
        (unescape(url), title, int(number)) for url, title, number in CELL.findall(page)
    ]


def midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def test_the_sum_of_a_day_is_that_of_the_next_fire_times_of_all_tasks(
    user: User, client_for: ClientFor
) -> None:
    now = timezone.now()
    stored = RandomTasks([user], now, random.Random(5)).store(300)
    pausing.pause_tasks(user, [str(task.pk) for task in stored[::9]], now=now)
    begin = midnight(now) + DAY
    api = client_for(user)
    shown = 0
    for task in Task.objects.alive(now).filter(is_paused=False):
        coming = api.get(f"/tasks/{task.pk}/next/?n=1000").json()["fire_times"]
        moments = (datetime.fromisoformat(each["at"]) for each in coming if each["at"])
        shown += sum(begin <= at < begin + DAY for at in moments)

    page = open_page(user, f"/app/calendar/?view=day&day={begin:%Y-%m-%d}")

    assert shown > 1000
    assert sum(number for *_, number in cells_of(page)) == shown
    assert f"<strong>{shown}</strong> fire times</a> to come" in page


def test_a_week_has_past_runs_and_coming_fire_times(
    user: User, make_task: MakeTask, client_for: ClientFor
) -> None:
    now = timezone.now()
    runs = [store_run(hourly_task(user), ago=ago) for ago in (1, 2, 3)]
    task = make_task(schedule=Cron("30 12 * * *"))
    api = client_for(user)

    week = cells_of(open_page(user, "/app/calendar/"))
    next_week = cells_of(
        open_page(user, f"/app/calendar/?day={now + 7 * DAY:%Y-%m-%d}")
    )

    past = [each for each in week if each[0].startswith("/app/runs/")]
    for url, title, number in past:
        listed = api.get(url.replace("/app", "", 1)).json()["runs"]
        assert len(listed) == number, title
    assert sum(number for *_, number in past) <= len(runs)
    assert len([title for _, title, _ in next_week if " 12:00-13:00" in title]) == 7
    [noon] = [
        url for url, title, _ in next_week if "Wed" in title and " 12:00" in title
    ]
    assert f'href="/app/tasks/{task.pk}/"' in open_page(user, noon)


def test_a_cell_leads_to_the_tasks_of_its_minute(
    user: User, make_task: MakeTask
) -> None:
    at = (timezone.now() + 2 * DAY).replace(hour=9, minute=41, second=30, microsecond=0)
    named = make_task(schedule=Once(at), name="wake up")
    make_task(schedule=Once(at + 5 * MINUTE), name="go to bed")
    day = f"/app/calendar/?view=day&day={at:%Y-%m-%d}"

    quarters = cells_of(open_page(user, day))
    [(quarter, _, number)] = [each for each in quarters if " 09:30:" in each[1]]
    minutes = cells_of(open_page(user, quarter))
    [(minute, _, _)] = [each for each in minutes if each[1].startswith("09:41:")]
    page = open_page(user, minute)

    assert number == 1
    assert "wake up" in page
    assert "go to bed" not in page
    assert f'href="/app/tasks/{named.pk}/"' in page
    assert "1 fire time to come" in page


def test_the_hours_of_a_week_add_up_where_the_clock_changes(
    user: User, make_task: MakeTask
) -> None:
    make_task(schedule=Cron("30 * * * *", "Europe/Berlin"))
    autumn = _page_with_day_of(25)

    in_spring = open_page(user, _page_with_day_of(23))
    in_autumn = open_page(user, autumn)
    one_day = open_page(user, f"{autumn}&view=day")

    assert sum(number for *_, number in cells_of(in_spring)) == 7 * 24 - 1
    assert in_spring.count('class="gap"') == 1
    assert "23 hours" in in_spring
    assert sum(number for *_, number in cells_of(in_autumn)) == 7 * 24 + 1
    assert len([each for each in cells_of(in_autumn) if ", again" in each[1]]) == 1
    assert sum(number for *_, number in cells_of(one_day)) == 25


def _page_with_day_of(hours: int) -> str:
    """The calendar of a coming week with a day of so many hours.

    Each half of a year has one in Berlin or in Sydney. The calendar ends within a year.
    """
    # The week of any Sunday from then on has not begun, in no time zone.
    first = timezone.now().date() + 8 * DAY
    day, zone = next(
        (first + number * DAY, zone)
        for number in range(300)
        for zone in ("Europe/Berlin", "Australia/Sydney")
        if _hours_of(first + number * DAY, ZoneInfo(zone)) == hours
    )
    return f"/app/calendar/?zone={zone}&day={day}"


def _hours_of(day: date, zone: ZoneInfo) -> float:
    begin, end = (datetime.combine(each, time(), zone) for each in (day, day + DAY))
    return (end.astimezone(UTC) - begin.astimezone(UTC)) / HOUR


@pytest.mark.parametrize(
    ("by", "label", "number"),
    [("tag", "red", 4), ("host", "a.example", 3), ("host", "b.example", 4)],
)
def test_the_calendar_of_one_label_counts_that_alone(
    user: User, make_task: MakeTask, by: str, label: str, number: int
) -> None:
    at = midnight(timezone.now()) + 3 * DAY
    for count, host, tags in ((3, "a.example", ()), (4, "b.example", ("red",))):
        for minute in range(count):
            moment = at + minute * MINUTE
            make_task(schedule=Once(moment), url=f"http://{host}/", tags=tags)
    day = f"/app/calendar/?view=day&day={at:%Y-%m-%d}&by={by}"

    divided = open_page(user, day)
    [link] = re.findall(rf'{label}</th><td><a href="([^"]+)">{number}</a>', divided)
    alone = open_page(user, unescape(link))

    assert sum(each[2] for each in cells_of(divided)) == 7
    assert sum(each[2] for each in cells_of(alone)) == number
    [cell, *_] = cells_of(alone)
    assert f"{number} fire times to come" in open_page(user, cell[0])


def test_the_calendar_of_one_task_is_that_of_own_tasks_only(
    user: User, stranger: User, make_task: MakeTask
) -> None:
    own, other = make_task(name="mine"), make_task(stranger)

    page = open_page(user, f"/app/calendar/?by=task&of={own.pk}")
    refused = browser_of(user).get(f"/app/calendar/?by=task&of={other.pk}")

    assert "<strong>mine</strong>" in page
    assert refused.status_code == 404


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
def test_what_is_counted_is_what_the_user_reaches(
    user: User, colleague: User, stranger: User, make_task: MakeTask, role: Role
) -> None:
    at = timezone.now() + 2 * DAY
    for owner in (user, colleague, stranger):
        make_task(owner, schedule=Once(at))
    accounts.change_user(user, role=role)

    page = open_page(user, f"/app/calendar/?day={at:%Y-%m-%d}")

    assert sum(each[2] for each in cells_of(page)) == (2 if role == Role.ADMIN else 1)


@pytest.mark.parametrize(
    "query",
    [
        "day=never&zone=Mars/Olympus&by=colour&of=red&view=year",
        "by=task&of=nothing",
        "by=tag&of=%00",
        "day=0001-01-01&zone=Asia/Tokyo",
        "day=9999-12-31&zone=America/Lima&view=day",
        "zone=Australia/Lord_Howe",
        "zone=Asia/Kathmandu&view=day",
        "zone=../../etc/passwd",
    ],
)
def test_an_address_with_mistakes_shows_what_it_can(user: User, query: str) -> None:
    assert "<table" in open_page(user, f"/app/calendar/?{query}")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=never&to=ever",
        "from=0001-01-01&to=9999-12-31",
        "from=9999-12-31T23:59:59-14:00",
        "from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z",
        "zone=Asia/Kolkata",
    ],
)
def test_a_window_with_mistakes_is_put_right(user: User, query: str) -> None:
    answer = browser_of(user).get(f"/app/calendar/tasks/?{query}")

    assert answer.status_code in (200, 302)


def test_a_window_in_the_past_has_runs(user: User) -> None:
    until = timezone.now() - HOUR
    query = f"from={until - HOUR:%Y-%m-%dT%H:%M:00Z}&to={until:%Y-%m-%dT%H:%M:00Z}"

    answer = browser_of(user).get(f"/app/calendar/tasks/?{query}")

    assert answer["Location"].startswith("/app/runs/?from=")


def test_of_very_many_tasks_the_next_ones_are_listed(
    user: User, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = (timezone.now() + DAY).replace(minute=30, second=0, microsecond=0)
    for number in range(8):
        schedule = Once(at + number * timedelta(seconds=1))
        make_task(schedule=schedule, name=f"task {number}", tags=("red",))
    make_task(schedule=Interval(at, HOUR), name="without a tag")
    monkeypatch.setattr(coming_tasks, "MAX_GROUPS", 5)
    monkeypatch.setattr(coming_tasks, "MAX_TASKS", 6)
    window = f"from={at.astimezone(UTC):%Y-%m-%dT%H:00:00Z}&by=tag&of=red"

    page = open_page(user, f"/app/calendar/tasks/?{window}")

    assert "8 fire times to come" in page
    assert re.findall(r">(task \d|without a tag)</a>", page) == [
        f"task {number}" for number in range(6)
    ]
