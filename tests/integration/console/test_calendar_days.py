"""The pages of calendars of days: what they show, and how they are changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, User
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.models import Calendar, CalendarVersion
from tests.integration.support.calendars import change_calendar, make_calendar, task_on
from tests.integration.support.logins import browser_of
from tests.integration.support.task_pages import statements, text_of

pytestmark = pytest.mark.django_db

LIST = "/app/calendars/"
NEW = "/app/new-calendar/"
EDIT = f"{LIST}closed/edit/"
FORM: dict[str, Any] = {"zone": "Europe/Berlin", "dates": "", "ranges": ""}
CLOSED = CalendarChoice(exclude=("closed",))
DAY = timedelta(days=1)


def path_of(name: str) -> str:
    return f"{LIST}{name}/"


def daily_task(user: User, choice: CalendarChoice = CLOSED, **more: Any) -> Any:
    return task_on(user, Cron("0 12 * * *"), choice, **more)


def day_in(days: int) -> str:
    return (timezone.now() + days * DAY).date().isoformat()


def values_of(form: Any) -> dict[str, Any]:
    """What a form that is shown sends."""
    return {field.name: field.value() for field in form if field.value()}


# What the pages show.


def test_an_empty_list_teaches(member: Client, admin: Client) -> None:
    for browser, has_button in ((member, False), (admin, True)):
        page = text_of(browser, LIST)
        assert "There is no calendar yet" in page
        assert (NEW.rstrip("/") in page) is has_button


def test_the_list_says_what_calendars_have_and_who_follows(
    member: Client, user: User, colleague: User
) -> None:
    make_calendar(
        user,
        "closed",
        "Europe/Berlin",
        dates=["2090-12-24", "2090-12-25"],
        ranges=[{"from": "2091-01-01", "to": "2091-01-06"}],
        weekdays=["sun"],
        holidays={"country": "DE", "subdivision": "BY"},
    )
    daily_task(user)
    daily_task(colleague)

    page = text_of(member, LIST)

    assert (
        "public holidays of Germany (BY), every Sunday, 2 single days, 1 range of days"
        in page
    )
    assert 'href="/app/calendars/closed#tasks">1</a>' in page
    assert f"by {user.name}" in page


def test_the_page_shows_a_year_with_its_reasons(member: Client, user: User) -> None:
    make_calendar(
        user,
        "closed",
        "Europe/Berlin",
        dates=["2060-12-27"],
        ranges=[
            {"from": "2060-07-01", "to": "2060-07-14"},
            {"from": "2060-11-30T22:00:00Z", "to": "2060-12-01T05:00:00Z"},
        ],
        weekdays=["mon"],
        holidays={"country": "DE"},
    )

    page = text_of(member, f"{path_of('closed')}?year=2060")

    assert page.count('<table class="month">') == 12
    assert (
        'title="2060-10-03: Tag der Deutschen Einheit"' in page
        or "German Unity" in page
    )
    assert 'title="2060-12-27: single day"' in page
    assert 'title="2060-07-05: range 2060-07-01 to 2060-07-14"' in page
    assert 'title="2060-01-05: Monday"' in page
    # In Berlin, the span is from 23:00 to 06:00.
    assert '<span class="mark part">30' in page
    assert "from 2060-11-30 23:00 to 2060-12-01 06:00" in page
    assert '<span class="hidden">: single day</span>' in page
    assert "?year=2059" in page
    assert "?year=2061" in page


@pytest.mark.parametrize("year", ["", "0", "1969", "9999", "x", "20260"])
def test_any_year_of_a_link_shows_some_year(
    member: Client, user: User, year: str
) -> None:
    make_calendar(user, "closed", weekdays=["sat"])

    assert "<caption>January</caption>" in text_of(
        member, f"{path_of('closed')}?year={year}"
    )


def test_the_page_says_what_each_version_changed(member: Client, user: User) -> None:
    make_calendar(user, "closed", dates=["2090-12-24"])
    change_calendar(user, "closed", dates=["2090-12-25"], weekdays=["sat"])
    change_calendar(
        user,
        "closed",
        "Asia/Tokyo",
        dates=[f"2090-12-{day}" for day in range(10, 26)],
        holidays={"country": "DE"},
    )

    page = text_of(member, path_of("closed"))

    for words in (
        "made the calendar; 1 single day",
        "added day 2090-12-25; removed day 2090-12-24; added weekday Saturday",
        "zone UTC became Asia/Tokyo; added 15 days; removed weekday Saturday; "
        "added holidays of Germany",
    ):
        assert words in page


def test_versions_and_tasks_have_pages(member: Client, user: User) -> None:
    make_calendar(user, "closed")
    for number in range(12):
        change_calendar(user, "closed", dates=[f"2090-01-{number + 1:02}"])
    for number in range(52):
        daily_task(user, name=f"task-{number:02}")

    page = member.get(path_of("closed"))
    older = text_of(member, f"{path_of('closed')}?before={page.context['older']}")
    rest = text_of(member, f"{path_of('closed')}?after={page.context['after']}")

    assert len(page.context["versions"]) == 10
    assert len(page.context["tasks"]) == 50
    assert "made the calendar" in older
    assert "task-01" in rest
    assert "task-02" not in rest
    assert "52 tasks</a> follow it" in page.content.decode()


def test_a_member_sees_own_tasks_and_what_they_do(
    member: Client, user: User, colleague: User
) -> None:
    make_calendar(user, "closed", dates=["2090-01-01"])
    make_calendar(user, "open", dates=["2090-01-01"])
    choice = CalendarChoice(only=("open",), hold=("closed",), pace="1/minute")
    daily_task(user, choice, name="mine")
    daily_task(colleague, name="theirs")

    page = text_of(member, path_of("closed"))

    assert "mine" in page
    assert "its runs wait until it is over" in page
    assert "theirs" not in page
    assert "fires only on its days" in text_of(member, path_of("open"))


def test_others_see_no_buttons(member: Client, viewer: User, admin: Client) -> None:
    make_calendar(viewer, "closed")

    for browser in (member, browser_of(viewer)):
        page = text_of(browser, path_of("closed"))
        assert "Edit</a>" not in page
        assert "Remove…" not in page
    assert "Remove…" in text_of(admin, path_of("closed"))


@pytest.mark.parametrize("name", ["closed", "no-such", "new"])
def test_the_calendar_of_another_tenant_is_not_found(
    admin: Client, stranger: User, name: str
) -> None:
    make_calendar(stranger, "closed")

    for path in ("", "edit/", "import/"):
        assert admin.get(f"{path_of(name)}{path}").status_code == 404
    for path in ("edit/", "import/", "remove/"):
        assert admin.post(f"{path_of(name)}{path}", FORM).status_code == 404
    assert Calendar.objects.get().version == 1


def test_the_pages_take_as_few_statements_with_many_rows(
    member: Client, user: User
) -> None:
    make_calendar(user, "closed", dates=["2090-01-01"])
    daily_task(user)
    paths = [LIST, path_of("closed")]
    member.get(LIST)
    few = [statements(member, path) for path in paths]
    for number in range(20):
        make_calendar(user, f"calendar-{number}", weekdays=["sat"])
        change_calendar(user, "closed", dates=[f"2090-01-{number + 1:02}"])
        daily_task(user)

    assert [statements(member, path) for path in paths] == few
    assert max(few) <= 8


def test_the_navigation_tells_the_two_calendars_apart(member: Client) -> None:
    days, load = text_of(member, LIST), text_of(member, "/app/calendar/")

    assert 'href="/app/settings" aria-current="page"' in days
    assert 'href="/app/calendars" aria-current="page"' in days
    assert 'href="/app/calendar" aria-current="page"' not in days
    assert 'href="/app/calendar" aria-current="page"' in load


# Make and change calendars.


def test_a_calendar_is_made(admin: Client) -> None:
    form = FORM | {
        "name": "de holidays",
        "country": "DE",
        "subdivision": "BY",
        "weekdays": ["sat", "sun"],
        "dates": "2090-12-24\r\n\r\n 2090-12-31 ",
        "ranges": "2090-07-01 to 2090-07-14\n2090-12-01 18:00 to 2090-12-02 06:00",
    }

    answer = admin.post(NEW, form, follow=True)

    assert "de holidays is there." in answer.content.decode()
    version = CalendarVersion.objects.get()
    assert version.content == {
        "dates": ["2090-12-24", "2090-12-31"],
        "ranges": [
            {"from": "2090-07-01", "to": "2090-07-14"},
            {"from": "2090-12-01T17:00:00Z", "to": "2090-12-02T05:00:00Z"},
        ],
        "weekdays": ["sat", "sun"],
        "holidays": {"country": "DE", "subdivision": "BY"},
    }
    assert AuditEntry.objects.get(action="calendar.create").via == "console"


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"name": "a/b"}, "name", "without a slash"),
        ({"name": ""}, "name", "required"),
        ({"zone": "Mars"}, "zone", "is not known"),
        ({"country": "DE", "subdivision": "XX"}, "subdivision", "DE has"),
        ({"dates": "2090-12-24\nsoon\n2090-02-30"}, "dates", "Line 2: soon is no day"),
        ({"dates": "2090-12-24\nsoon\n2090-02-30"}, "dates", "Line 3: 2090-02-30"),
        ({"dates": "x\n" * 9}, "dates", "4 more lines are wrong."),
        ({"ranges": "\n2090-12-24"}, "ranges", "Line 2: 2090-12-24: "),
        ({"ranges": "2090-12-24 to 2090-12-01"}, "ranges", "ends before it begins"),
        ({"ranges": "2090-01-01 9:00 to soon"}, "ranges", "Line 1"),
    ],
)
def test_a_wrong_field_is_named_beside_it(
    admin: Client, wrong: dict[str, str], field: str, sentence: str
) -> None:
    form = admin.post(NEW, FORM | {"name": "closed"} | wrong).context["form"]

    assert sentence in " ".join(form.errors[field])
    assert form.errors.keys() == {field}
    assert not Calendar.objects.exists()


def test_a_name_that_is_taken_is_said(admin: Client, user: User) -> None:
    make_calendar(user, "closed")

    form = admin.post(NEW, FORM | {"name": "closed"}).context["form"]

    assert "There is a calendar closed already." in form.errors["name"]


def test_a_form_that_nobody_edits_changes_nothing(admin: Client, user: User) -> None:
    spans = [
        # The clock of Berlin shows 02:30 twice; this is the second one.
        {"from": "2090-10-29T01:30:00Z", "to": "2090-10-29T05:00:00Z"},
        {"from": "2090-07-01", "to": "2090-07-14"},
    ]
    holidays = {"country": "DE"}
    make_calendar(user, "closed", "Europe/Berlin", ranges=spans, holidays=holidays)
    form = admin.get(EDIT).context["form"]
    values = values_of(form)

    answer = admin.post(EDIT, values, follow=True)

    assert "2090-10-29T01:30:00Z to 2090-10-29 06:00" in values["ranges"]
    assert "closed stays as it was." in answer.content.decode()
    assert Calendar.objects.get().version == 1


def test_a_change_that_moves_tasks_is_shown_before_it_is_saved(
    admin: Client, user: User
) -> None:
    make_calendar(user, "closed", "UTC", dates=[day_in(3)])
    task = daily_task(user, name="nightly")
    daily_task(user, CalendarChoice(hold=("closed",)), name="held")
    form = FORM | {"zone": "UTC", "dates": f"{day_in(4)}\n{day_in(5)}", "version": "1"}

    shown = admin.post(EDIT, form)
    text = " ".join(shown.content.decode().split())
    assert Calendar.objects.get().version == 1
    assert "Of the 2 tasks that follow it, <strong>2</strong> change" in text
    assert "<strong>2</strong> fire times go away" in text
    assert "<strong>1</strong> comes" in text
    assert "<strong>2</strong> will wait" in text
    assert "<strong>1</strong> does not wait any more" in text
    assert "Nothing is stored yet." in text

    again = form | {"previewed": shown.context["form"]["previewed"].value()}
    other = admin.post(EDIT, again | {"dates": day_in(6)})
    assert Calendar.objects.get().version == 1
    assert "What this changes" in other.content.decode()
    saved = admin.post(EDIT, again, follow=True)

    assert "closed has its version 2." in saved.content.decode()
    task.refresh_from_db()
    assert task.version == 2


def test_a_calendar_that_no_task_follows_changes_at_once(
    admin: Client, user: User
) -> None:
    make_calendar(user, "closed")

    admin.post(EDIT, FORM | {"dates": day_in(3), "version": "1"})

    assert Calendar.objects.get().version == 2


def test_a_change_of_somebody_else_is_said(admin: Client, user: User) -> None:
    make_calendar(user, "closed", "UTC")
    daily_task(user)
    form = FORM | {"dates": day_in(3), "version": "1"}
    shown = admin.post(EDIT, form)
    change_calendar(user, "closed", "UTC", dates=[day_in(9)])
    seal = shown.context["form"]["previewed"].value()

    warned = admin.post(EDIT, form | {"previewed": seal})

    assert f"{user.name} made version 2 after you opened this form" in (
        warned.content.decode()
    )
    values = warned.context["form"]
    again = form | {name: values[name].value() for name in ("previewed", "version")}
    admin.post(EDIT, again)
    assert Calendar.objects.get().version == 3


# ICS files.


def upload(text: str | bytes) -> dict[str, Any]:
    content = text if isinstance(text, bytes) else text.encode()
    return {"file": SimpleUploadedFile("days.ics", content, "text/calendar")}


EVENT = "BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20901224\r\nEND:VEVENT\r\n"
BLACKOUT = (
    "BEGIN:VEVENT\r\nDTSTART;TZID=Europe/Berlin:20901201T180000\r\n"
    "DURATION:PT12H\r\nEND:VEVENT\r\n"
)


def file_of(*events: str) -> str:
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{''.join(events)}END:VCALENDAR\r\n"


def test_a_file_fills_the_form_which_stores_it(admin: Client, user: User) -> None:
    make_calendar(
        user, "closed", "Europe/Berlin", dates=["2090-01-01"], weekdays=["sun"]
    )

    read = admin.post(f"{path_of('closed')}import/", upload(file_of(EVENT, BLACKOUT)))
    values = values_of(read.context["form"])

    assert "The file has 1 day and 1 range." in read.content.decode()
    assert 'action="/app/calendars/closed/edit"' in read.content.decode()
    assert Calendar.objects.get().version == 1
    assert (values["dates"], values["weekdays"]) == ("2090-12-24", ["sun"])
    assert values["ranges"] == "2090-12-01 18:00 to 2090-12-02 06:00"
    admin.post(EDIT, values)
    assert CalendarVersion.objects.get(number=2).content["dates"] == ["2090-12-24"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (file_of(EVENT, "nonsense\r\n"), "line 6 cannot be read"),
        (
            file_of(EVENT, "BEGIN:VEVENT\r\nSUMMARY:x\r\nEND:VEVENT\r\n"),
            "an event without a start: it begins in line 6",
        ),
        ("x" * 300_000, "may have 256"),
        (file_of(EVENT).encode() + b"\xff", "Line 7 is no UTF-8 text."),
        ("", "empty"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    admin: Client, user: User, text: str | bytes, sentence: str
) -> None:
    make_calendar(user, "closed")

    answer = admin.post(f"{path_of('closed')}import/", upload(text))

    assert sentence in " ".join(answer.context["form"].errors["file"])
    assert Calendar.objects.get().version == 1


# Remove.


def test_a_removal_asks_and_spares_what_tasks_follow(admin: Client, user: User) -> None:
    make_calendar(user, "closed")
    make_calendar(user, "old")
    daily_task(user)

    asked = admin.post(f"{path_of('old')}remove/")
    assert "Its versions stay" in asked.content.decode()
    assert Calendar.objects.filter(removed_at=None).count() == 2
    refused = admin.post(
        f"{path_of('closed')}remove/", {"confirmed": "yes"}, follow=True
    )
    admin.post(f"{path_of('old')}remove/", {"confirmed": "yes"})

    assert "closed stays: 1 task follows this calendar" in refused.content.decode()
    assert Calendar.objects.get(removed_at=None).name == "closed"


def test_a_name_with_odd_characters_has_its_page(admin: Client) -> None:
    name = "50 % & more? #1 Ä"

    answer = admin.post(NEW, FORM | {"name": name}, follow=True)

    assert answer.status_code == 200
    assert answer.context["calendar"].name == name


def test_a_frequent_task_has_no_long_preview(admin: Client, user: User) -> None:
    make_calendar(user, "closed", "UTC")
    task_on(user, Interval(timezone.now() + DAY, timedelta(seconds=10)), CLOSED)

    answer = admin.post(EDIT, FORM | {"dates": day_in(300), "version": "1"})

    assert "No fire time of the 1 task that was compared changes" in " ".join(
        answer.content.decode().split()
    )
