"""A backfill on the pages: its plan comes first, and its runs show how it goes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, User
from tasks_api.domain.backfills import Pace
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tests.integration.support.backfills import (
    backfilled,
    hourly_task,
    live_backfills,
    settle,
)
from tests.integration.support.stored_tasks import HOUR
from tests.integration.support.task_pages import HTMX, statements, text_of

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = Pace(1, "hour")


def path_of(task: Task) -> str:
    return f"/app/tasks/{task.pk}/backfill/"


def missed_task(user: User, *, age: timedelta = 10 * HOUR) -> Task:
    """A task that missed its fire times, but for the last one, which is under way."""
    task = hourly_task(user, age=age)
    settle(task)
    return task


def form_of(**given: Any) -> dict[str, Any]:
    since = (timezone.now() - 6 * HOUR).replace(microsecond=0, tzinfo=None)
    form = {"since": since.isoformat(), "timezone": "UTC", "which": "missed"}
    return {**form, "pace": "1/hour", **given}


def test_the_page_begins_with_the_last_day_in_the_zone_of_the_task(
    member: Client, user: User
) -> None:
    form = member.get(path_of(missed_task(user))).context["form"]

    assert form["until"].value() - form["since"].value() == timedelta(days=1)
    assert (form["timezone"].value(), form["which"].value()) == ("UTC", "missed")


def test_the_plan_comes_first_and_its_button_makes_the_runs(
    member: Client, user: User
) -> None:
    task = missed_task(user)

    planned = member.post(path_of(task), form_of())
    text = planned.content.decode()
    assert "<strong>5 runs</strong>" in text
    assert "Send 5 runs" in text
    assert "Nothing has happened yet." in text
    assert live_backfills(task) == []
    plan = planned.context["form"]["plan"].value()
    made = member.post(path_of(task), form_of(plan=plan, confirmed="yes"))

    assert len(live_backfills(task)) == 5
    backfill_id = live_backfills(task)[0].backfill_id
    assert made["Location"] == f"/app/tasks/{task.pk}/backfill/{backfill_id}"
    assert AuditEntry.objects.get(action="task.backfill").via == "console"


def test_another_plan_is_shown_and_not_made(member: Client, user: User) -> None:
    task = missed_task(user)
    planned = member.post(path_of(task), form_of())
    plan = planned.context["form"]["plan"].value()
    edited = form_of(plan=plan, confirmed="yes", pace="2/hour")

    answer = member.post(path_of(task), edited)

    assert "The plan is another one by now" in answer.content.decode()
    assert live_backfills(task) == []
    fresh = answer.context["form"]["plan"].value()
    member.post(path_of(task), edited | {"plan": fresh})
    assert len(live_backfills(task)) == 5


def test_a_form_that_is_sent_twice_makes_one_backfill(
    member: Client, user: User
) -> None:
    task = missed_task(user)
    plan = member.post(path_of(task), form_of()).context["form"]["plan"].value()
    confirmed = form_of(plan=plan, confirmed="yes")

    member.post(path_of(task), confirmed)
    second = member.post(path_of(task), confirmed)

    assert "There is nothing to send in this time" in second.content.decode()
    assert len(live_backfills(task)) == 5


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"until": "2090-01-01T00:00"}, "until", "not be in the future"),
        ({"since": "2090-01-01T00:00"}, "until", "after from"),
        ({"since": "2001-01-01T00:00"}, "since", "older runs are not kept"),
        ({"since": "soon"}, "since", "a date and a time"),
        ({"pace": "fast"}, "pace", "such as 20/minute"),
        ({"pace": "101/second"}, "pace", "at most 100/second"),
        ({"pace": "1/day"}, "pace", "longer than 6 days"),
        ({"timezone": "Mars"}, "timezone", "is not known"),
        ({"which": "some"}, "which", "some"),
    ],
)
def test_a_wrong_field_is_named_beside_it(
    member: Client, user: User, wrong: dict[str, str], field: str, sentence: str
) -> None:
    task = missed_task(user, age=12 * HOUR)
    more = {"since": ""} if field == "pace" else {}

    form = member.post(path_of(task), form_of(**more, **wrong)).context["form"]

    assert sentence in " ".join(form.errors[field])
    assert form.errors.keys() == {field}


def test_all_slots_of_a_schedule_may_be_sent(member: Client, user: User) -> None:
    task = missed_task(user, age=HOUR)

    answer = member.post(path_of(task), form_of(which="all", pace="60/minute"))

    assert answer.context["plan"]["count"] == 5
    assert "… " not in answer.content.decode()


def test_the_progress_counts_runs_and_leads_to_them(member: Client, user: User) -> None:
    task = missed_task(user)
    made = backfilled(user, task, since=timezone.now() - 6 * HOUR, pace=SLOW)
    backfilled(user, missed_task(user), pace=SLOW)
    first = live_backfills(task)[0]
    over = {"finished_at": timezone.now(), "wake_at": None}
    Run.objects.filter(pk=first.pk).update(state=RunState.FAILED, **over)
    path = f"{path_of(task)}{made.backfill_id}/"

    page = text_of(member, path)
    counts = {}
    for url in re.findall(rf'href="(/app/runs\?task={task.pk}[^"]*)"', page):
        runs = member.get(url.replace("&amp;", "&"))
        counts[url.split("&amp;")[2]] = len(runs.context["rows"])

    assert "1 of 5 runs is over" in page
    assert counts == {"state=failed": 1, "state=waiting": 4, "last=all": 5}
    assert "Cancel the 4 that wait…" in page


def test_the_progress_is_polled(member: Client, user: User) -> None:
    task = missed_task(user)
    made = backfilled(user, task, pace=SLOW)
    path = f"{path_of(task)}{made.backfill_id}/"
    first = member.get(path, headers=HTMX)

    again = member.get(path, headers={**HTMX, "If-None-Match": first["ETag"]})

    assert again.status_code == 304


def test_what_waits_is_cancelled_after_a_question(member: Client, user: User) -> None:
    task = missed_task(user)
    made = backfilled(user, task, since=timezone.now() - 6 * HOUR, pace=SLOW)
    path = f"{path_of(task)}{made.backfill_id}/cancel/"

    asked = member.post(path).content.decode()
    assert "Cancel 5 runs" in asked
    assert len(live_backfills(task)) == 5
    answer = member.post(path, {"confirmed": "yes"}, follow=True)

    assert "5 runs cancelled." in answer.content.decode()
    assert "All 5 runs are over." in answer.content.decode()


def test_runs_lead_to_their_backfill(member: Client, user: User) -> None:
    task = missed_task(user)
    made = backfilled(user, task, pace=SLOW)
    run = live_backfills(task)[0]

    page = text_of(member, f"/app/runs/{run.pk}/")

    assert f"/app/tasks/{task.pk}/backfill/{made.backfill_id}" in page


def test_others_do_not_find_it(
    member: Client, user: User, colleague: User, stranger: User
) -> None:
    for other in (colleague, stranger):
        task = missed_task(other)
        made = backfilled(other, task, pace=SLOW)
        for path in ("", f"{made.backfill_id}/"):
            assert member.get(path_of(task) + path).status_code == 404
        cancel = f"{path_of(task)}{made.backfill_id}/cancel/"
        for path in (path_of(task), cancel):
            answer = member.post(path, form_of(confirmed="yes"))
            assert answer.status_code == 404
    own = missed_task(user)
    assert member.get(f"{path_of(own)}{made.backfill_id}/").status_code == 404


def test_the_progress_takes_as_few_statements_with_many_runs(
    member: Client, user: User
) -> None:
    small, large = missed_task(user), missed_task(user)
    few = backfilled(user, small, since=timezone.now() - 2 * HOUR, pace=SLOW)
    many = backfilled(user, large, pace=SLOW)
    paths = [
        f"{path_of(task)}{made.backfill_id}/"
        for task, made in ((small, few), (large, many))
    ]
    member.get(paths[0])

    assert statements(member, paths[0]) == statements(member, paths[1]) <= 8
