"""The columns of a schedule, which tasks and the changes of their schedules have."""

from __future__ import annotations

from django.db import models


class ScheduleColumns(models.Model):
    """The columns of a schedule; StoredSchedule has them under the same names."""

    is_paused = models.BooleanField(default=False, db_default=False, editable=False)
    is_one_off = models.BooleanField(default=False, db_default=False, editable=False)
    # The earliest and the latest fire time that the schedule may have.
    starts_at = models.DateTimeField(null=True, editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)
    # A schedule is an interval, a moment or a cron expression; other columns are empty.
    interval_every = models.IntegerField(null=True, editable=False)
    interval_period = models.TextField(default="", db_default="", editable=False)
    once_at = models.DateTimeField(null=True, editable=False)
    cron_minute = models.TextField(default="", db_default="", editable=False)
    cron_hour = models.TextField(default="", db_default="", editable=False)
    cron_day_of_month = models.TextField(default="", db_default="", editable=False)
    cron_month_of_year = models.TextField(default="", db_default="", editable=False)
    cron_day_of_week = models.TextField(default="", db_default="", editable=False)
    cron_zone = models.TextField(default="", db_default="", editable=False)
    # A kind of django-celery-beat that the service cannot compute.
    solar_id = models.BigIntegerField(null=True, editable=False)
    # A CrontabSchedule cannot hold seconds and years. Empty: second 0 and every year.
    cron_seconds = models.TextField(blank=True)
    cron_years = models.TextField(blank=True)
    # The policy for fixed times in a gap and in an overlap; empty: next_valid first.
    dst = models.CharField(max_length=20, blank=True, default="", db_default="")
    # With a spread: the seconds by which the task fires after its grid.
    spread_offset = models.PositiveIntegerField(default=0, db_default=0)
    # Several schedules, or a recurrence rule, as JSON; empty: none. The other columns
    # then hold what the admin shows instead.
    rules = models.TextField(blank=True, default="", db_default="", editable=False)
    # The versions of calendars that the schedule follows, as JSON; empty: none. See
    # storage/calendar_rules.py.
    calendars = models.TextField(blank=True, default="", db_default="", editable=False)

    class Meta:
        abstract = True
