"""What counts against quotas and bounds: starts of requests, and the runs of a day."""

from __future__ import annotations

from django.db import models

from accounts.models import Tenant, TokenBounds
from tasks_api.models.tenants import CopiedTenant


class BoundedStart(CopiedTenant):
    """The start of a request that counts against the runs a day of a bounded token.

    A start counts against the bounds of its task and against each from which those were
    narrowed, in a row for each that has such a bound.
    """

    bounds = models.ForeignKey(
        TokenBounds,
        models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    started_at = models.DateTimeField()

    class Meta:
        indexes = [
            # Read before a request starts: the starts of the last day.
            models.Index(fields=["bounds", "started_at"], name="start_of_bounds")
        ]

    def __str__(self) -> str:
        return f"{self.bounds_id} at {self.started_at:%Y-%m-%d %H:%M:%S}"


class DayCount(models.Model):
    """The runs of a tenant with a quota that began in a day of UTC, as a sum of parts.

    Workers count in different parts, so that they seldom wait for each other.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    part = models.PositiveSmallIntegerField()
    runs = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "day", "part"], name="day_count_once_per_part"
            )
        ]

    def __str__(self) -> str:
        return f"{self.runs} on {self.day}"
