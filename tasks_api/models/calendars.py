"""Calendars of tenants, and their versions, which never change."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Tenant
from tasks_api.models.tenants import CopiedTenant


class CalendarQuerySet(models.QuerySet["Calendar"]):
    def living_of(self, tenant: Tenant) -> CalendarQuerySet:
        return self.filter(tenant=tenant, removed_at=None)


class Calendar(models.Model):
    """Days and spans of time with a name, which tasks leave out, follow, or wait for.

    A removed calendar keeps its versions: the accounts of tasks are computed from them.
    """

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="calendars", db_index=False
    )
    name = models.CharField(max_length=100)
    # The zone whose clock says which day it is.
    zone = models.CharField(max_length=100)
    # The number of the version that counts.
    version = models.PositiveIntegerField(default=1, db_default=1)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    removed_at = models.DateTimeField(null=True, editable=False)
    # The first moment at which the next run that it holds back may go, at its pace.
    next_release_at = models.DateTimeField(null=True, editable=False)

    objects = CalendarQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"],
                name="calendar_name_once_while_alive",
                condition=Q(removed_at=None),
            ),
        ]
        indexes = [
            # Read by the beat: the calendars that let held runs go.
            models.Index(
                fields=["next_release_at"],
                name="calendar_releases",
                condition=Q(next_release_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CalendarVersion(CopiedTenant):
    """What a calendar contained from one change to the next. Its rows never change."""

    calendar = models.ForeignKey(
        Calendar, models.CASCADE, related_name="versions", db_index=False
    )
    number = models.PositiveIntegerField()
    zone = models.CharField(max_length=100)
    # Dates, ranges, weekdays and the country of the holidays, as clients give them.
    content = models.JSONField()
    # The holidays by their dates, as the library knew them when the version was made.
    holidays = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField())
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["calendar", "number"], name="calendar_version_once"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.calendar_id}"
