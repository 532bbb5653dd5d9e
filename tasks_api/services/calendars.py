"""Create, change, read and remove the calendars of a tenant, and let tasks follow them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from accounts import audit
from accounts.models import Tenant, User
from scheduler_service.db import locks
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import prepared
from tasks_api.domain.calendars import CalendarChoice, CalendarRules, OnCalendars
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.exceptions import (
    CalendarExists,
    CalendarNotFound,
    InvalidState,
    InvalidTask,
    ScheduleError,
    TaskBusy,
    VersionConflict,
)
from tasks_api.domain.holiday_days import holidays_of
from tasks_api.domain.schedules import Once, first_after
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Calendar, CalendarVersion, Task, TaskQuerySet
from tasks_api.services import catch_ups, held_runs
from tasks_api.services.calendar_statements import (
    READ_VERSIONS,
    WRITE_VERSIONS,
)
from tasks_api.services.channels import lock_tenant
from tasks_api.services.rescheduling import reschedule
from tasks_api.storage import calendar_rules, schedule_changes
from tasks_api.storage.stored_schedules import follow_calendars

MAX_CALENDARS = 100
# The tasks that one change moves, in one transaction of some seconds.
MAX_TASKS = 10_000
EMPTY_CONTENT: dict[str, Any] = {
    "dates": [],
    "ranges": [],
    "weekdays": [],
    "holidays": None,
}


class CalendarContent(NamedTuple):
    """What a calendar contains, and the zone whose clock says which day it is."""

    zone: str
    content: dict[str, Any]

    def find_holidays(self, now: datetime) -> dict[str, str]:
        """Return its public holidays. Raises InvalidTask if nobody knows the country."""
        rule = self.content["holidays"]
        if not rule:
            return {}
        return holidays_of(rule["country"], rule.get("subdivision", ""), now.year)


# Reading.


def list_calendars(tenant: Tenant) -> QuerySet[Calendar]:
    return Calendar.objects.living_of(tenant)


def get_calendar(tenant: Tenant, name: str) -> Calendar:
    found = Calendar.objects.living_of(tenant).filter(name=name).first()
    if found is None:
        raise CalendarNotFound("Calendar not found")
    return found


def versions_of(calendar: Calendar) -> QuerySet[CalendarVersion]:
    return calendar.versions.select_related("calendar")


def present_versions(calendars: Sequence[Calendar]) -> dict[int, CalendarVersion]:
    """Return the version that counts of each calendar, by the calendar's id."""
    present = CalendarVersion.objects.filter(number=F("calendar__version"))
    # Nobody reads the holidays of many calendars at once.
    rows = present.filter(calendar__in=calendars).defer("holidays")
    return {row.calendar_id: row for row in rows}


def present_version(calendar: Calendar) -> CalendarVersion:
    return versions_of(calendar).get(number=calendar.version)


def find_version(tenant: Tenant, name: str) -> CalendarVersion:
    """Return the version that counts of a calendar. Raises CalendarNotFound."""
    return present_version(get_calendar(tenant, name))


def with_file(version: CalendarVersion, read: CalendarContent) -> CalendarContent:
    """Return a version's content with the dates and ranges of a file in their place."""
    days = {name: read.content[name] for name in ("dates", "ranges")}
    return CalendarContent(version.zone, {**version.content, **days})


def count_tasks(calendar: Calendar) -> int:
    return tasks_on(calendar).count()


class CalendarDay(NamedTuple):
    """A day that a calendar covers, at least in part, and the holiday on it."""

    day: date
    is_whole: bool
    holiday: str | None


def covered_days(
    version: CalendarVersion, first: date, last: date
) -> Iterator[CalendarDay]:
    """Yield the days of a version from the first to the last one, both included."""
    days = calendar_rules.days_of(version)
    clock = ZoneInfo(days.zone)
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        start = datetime(day.year, day.month, day.day, tzinfo=clock)
        end = start + timedelta(days=1)
        spans = [span for span in days.spans if span[0] < end and span[1] > start]
        is_whole = days.days.covers(ordinal) or any(
            span[0] <= start and span[1] >= end for span in spans
        )
        if is_whole or spans:
            yield CalendarDay(day, is_whole, version.holidays.get(day.isoformat()))


# Changing.


@transaction.atomic
def create_calendar(
    user: User, name: str, wanted: CalendarContent, *, now: datetime
) -> Calendar:
    """Store a calendar with its first version."""
    tenant = lock_tenant(user)
    if list_calendars(tenant).count() >= MAX_CALENDARS:
        raise InvalidState(f"A tenant has at most {MAX_CALENDARS} calendars")
    calendar = Calendar(tenant=tenant, name=name, zone=wanted.zone)
    try:
        with transaction.atomic():
            calendar.save()
    except IntegrityError:
        raise CalendarExists(f"There is a calendar {name} already") from None
    _add_version(user, calendar, wanted, now=now)
    audit.record(tenant.pk, "calendar.create", [name])
    return calendar


@transaction.atomic
def change_calendar(
    user: User,
    name: str,
    wanted: CalendarContent,
    *,
    now: datetime,
    seen_version: int | None = None,
) -> Calendar:
    """Make a new version of a calendar, and move all tasks that follow it to that.

    What is due at this moment still fires, as if a worker had taken it before. Raises
    InvalidState if more than MAX_TASKS follow the calendar, and VersionConflict if it has
    another version than the caller has seen.
    """
    calendar = _lock_calendar(user, name)
    if seen_version not in (None, calendar.version):
        raise VersionConflict("Somebody changed the calendar after you opened it")
    tasks = _lock_tasks(calendar)
    calendar.version += 1
    calendar.zone = wanted.zone
    version = _add_version(user, calendar, wanted, now=now)
    _move(tasks, calendar, version)
    calendar.save(update_fields=["version", "zone"])
    held_runs.place_anew(calendar, now=now)
    changes = {"version": (calendar.version - 1, calendar.version)}
    audit.record(calendar.tenant_id, "calendar.change", [name], changes)
    return calendar


@transaction.atomic
def remove_calendar(user: User, name: str, *, now: datetime) -> None:
    """Remove a calendar that no task follows; its versions stay for the accounts."""
    calendar = _lock_calendar(user, name)
    if count := count_tasks(calendar):
        some = "1 task follows" if count == 1 else f"{count} tasks follow"
        raise InvalidState(f"{some} this calendar; take it from them first")
    calendar.removed_at = now
    calendar.save(update_fields=["removed_at"])
    audit.record(calendar.tenant_id, "calendar.remove", [name])


def _lock_calendar(user: User, name: str) -> Calendar:
    assert user.tenant is not None
    calendar = get_calendar(user.tenant, name)
    # A lock of the row would not do: workers lock it after tasks, and a new version locks
    # tasks.
    locks.acquire(LockKind.CALENDAR, calendar.pk)
    # Another request may have changed or removed it meanwhile.
    return get_calendar(user.tenant, name)


def _add_version(
    user: User, calendar: Calendar, wanted: CalendarContent, *, now: datetime
) -> CalendarVersion:
    return CalendarVersion.objects.create(
        tenant_id=calendar.tenant_id,
        calendar=calendar,
        number=calendar.version,
        zone=wanted.zone,
        content=wanted.content,
        holidays=wanted.find_holidays(now),
        created_by=user.name,
    )


def tasks_on(calendar: Calendar) -> TaskQuerySet:
    """Return the living tasks that follow a calendar."""
    tasks = Task.objects.for_tenant(calendar.tenant)
    return tasks.on_calendar(calendar_rules.mark_of(calendar.pk))


def _lock_tasks(calendar: Calendar) -> list[Task]:
    found = tasks_on(calendar).with_schedule().order_by("pk")
    locked = found.select_for_update(no_key=True, of=("self",))
    tasks = list(locked[: MAX_TASKS + 1])
    if len(tasks) > MAX_TASKS:
        raise InvalidState(
            f"More than {MAX_TASKS} tasks follow this calendar, and a change moves at "
            "most as many; let some follow another calendar with the same content"
        )
    return tasks


def _move(tasks: Sequence[Task], calendar: Calendar, version: CalendarVersion) -> None:
    if not tasks:
        return
    going = [task for task in tasks if task.periodic_task.enabled]
    at = schedule_changes.record_change(
        [task.pk for task in going], schedule_changes.ChangeKind.EDITED
    )
    for task in tasks:
        task.calendars = calendar_rules.replace_version(
            task.calendars, calendar.pk, version.pk
        )
    with prepared(rows=len(tasks)) as cursor:
        rows = [(task.pk, task.calendars) for task in tasks]
        cursor.execute(WRITE_VERSIONS, columns(rows))
    catch_ups.open_due_fire_times([task.pk for task in going], changed_at=at)
    reschedule(going, now=at)


# Tasks.


def resolve_calendars(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[TaskSpec]:
    """Return tasks whose schedules follow the present versions of their calendars.

    Call it inside the transaction that stores them, if any of them has calendars. Raises
    InvalidTask for `calendars`.
    """
    names = {name for spec in specs if spec.calendars for name in spec.calendars.names}
    if not names:
        return list(specs)
    known = _read_versions(owner, names)
    return [_resolve(spec, known, now) for spec in specs]


def follows_calendars(specs: Sequence[TaskSpec]) -> bool:
    return any(spec.calendars for spec in specs)


def _read_versions(owner: User, names: set[str]) -> Mapping[str, CalendarDays]:
    named = Calendar.objects.filter(
        tenant=owner.tenant_id, removed_at=None, name__in=names
    )
    ids = list(named.values_list("pk", flat=True).order_by("pk"))
    if not all(locks.try_share(LockKind.CALENDAR, each) for each in ids):
        raise TaskBusy("A calendar of the task is being changed; try again")
    # Only what is read under the locks stays as it is.
    with prepared() as cursor:
        cursor.execute(READ_VERSIONS, [array(ids)])
        rows = cursor.fetchall()
    known = {name: calendar_rules.version_of(pk) for name, pk in rows}
    if unknown := sorted(names - known.keys()):
        raise InvalidTask(
            "calendars",
            f"Invalid value of calendars. There is no calendar {unknown[0]}",
        )
    return known


def _resolve(
    spec: TaskSpec, known: Mapping[str, CalendarDays], now: datetime
) -> TaskSpec:
    choice, schedule = spec.calendars, spec.schedule
    if choice is None or isinstance(schedule, Once):
        return spec
    grid = schedule.grid if isinstance(schedule, OnCalendars) else schedule
    try:
        followed = follow_calendars(grid, _rules(choice, known))
        is_over = first_after(followed, now) is None
    except ScheduleError as error:
        raise InvalidTask("calendars", f"Invalid value of calendars. {error}") from None
    if is_over:
        raise InvalidTask(
            "calendars", "Invalid value of calendars. It never fires again."
        )
    return replace(spec, schedule=followed)


def _rules(choice: CalendarChoice, known: Mapping[str, CalendarDays]) -> CalendarRules:
    return CalendarRules(
        exclude=tuple(known[name] for name in choice.exclude),
        only=tuple(known[name] for name in choice.only),
        on_excluded=choice.on_excluded,
        hold=tuple(known[name] for name in choice.hold),
        pace=choice.pace,
    )


def choice_of(text: str) -> CalendarChoice | None:
    """Return the calendars of a task's column by their names; None if it has none."""
    if not text:
        return None
    rules = calendar_rules.rules_of(text)
    return CalendarChoice(
        exclude=tuple(each.name for each in rules.exclude),
        only=tuple(each.name for each in rules.only),
        on_excluded=rules.on_excluded,
        hold=tuple(each.name for each in rules.hold),
        pace=rules.pace,
    )
