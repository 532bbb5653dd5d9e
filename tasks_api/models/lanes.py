"""Lanes: how fast, and how many at once, the requests of a target may start."""

from __future__ import annotations

from datetime import datetime

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from accounts.models import Tenant
from tasks_api.domain.states import BreakerState


class Lane(models.Model):
    """The limits of a target, which all tasks that share the lane keep together.

    Workers lock the row of a lane when they admit runs, and write its state there. So
    one batch of one worker writes it once, however many requests the batch starts.
    """

    class RatePer(models.TextChoices):
        SECOND = "second"
        MINUTE = "minute"
        HOUR = "hour"

    # An index of its own would repeat a constraint below, which begins with it.
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="lanes", db_index=False
    )
    name = models.CharField(max_length=100)
    # Tasks of the tenant with this target host belong to the lane, unless they name
    # another one. Empty: only tasks that name the lane do.
    host = models.CharField(max_length=255, blank=True, default="", db_default="")
    # The most requests that start within a second, a minute or an hour; null: no limit.
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    rate_per = models.CharField(
        max_length=6,
        choices=RatePer,
        default=RatePer.SECOND,
        db_default=RatePer.SECOND,
    )
    # The most requests that start at the same moment.
    burst = models.PositiveIntegerField(default=1, db_default=1)
    # The most requests that are under way at once; null: no limit.
    concurrency = models.PositiveIntegerField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, editable=False)
    # Why a user paused the lane.
    hold_reason = models.TextField(
        blank=True, default="", db_default="", editable=False
    )
    # The moment at which a paused lane resumes by itself; null: when a user says so.
    resume_at = models.DateTimeField(null=True, editable=False)
    # Failures in a row that open the breaker; null: there is none.
    breaker_after = models.PositiveIntegerField(null=True, blank=True)
    # The seconds for which an open breaker holds the lane, until it lets a probe pass.
    breaker_for = models.PositiveIntegerField(default=30, db_default=30)
    created_at = models.DateTimeField(auto_now_add=True)

    # The state, which workers write.

    # The slot after all slots that were given out, if no burst is left.
    next_slot_at = models.DateTimeField(null=True, editable=False)
    # The moment at which the last of the waiting runs is expected to start.
    line_ends_at = models.DateTimeField(null=True, editable=False)
    # The part of the rate that is in use: less than 1 after the target asked for less.
    slowdown = models.FloatField(default=1, db_default=1, editable=False)
    # The moment at which the slowdown last changed.
    slowed_at = models.DateTimeField(null=True, editable=False)
    # The target asked in a Retry-After header that nothing starts before this moment.
    held_until = models.DateTimeField(null=True, editable=False)
    # Failures in a row.
    failures = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    breaker_state = models.CharField(
        max_length=9,
        choices=BreakerState,
        default=BreakerState.CLOSED,
        db_default=BreakerState.CLOSED,
        editable=False,
    )
    # Open: when a probe may start. Half open: when to try another one if it is lost.
    breaker_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="lane_name_once_per_tenant"
            ),
            # Also read for the lane of a new task.
            models.UniqueConstraint(
                fields=["tenant", "host"],
                name="lane_host_once_per_tenant",
                condition=~Q(host=""),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def is_paused(self, now: datetime) -> bool:
        return self.paused_at is not None and not (
            self.resume_at is not None and self.resume_at <= now
        )


class LaneCeiling(models.Model):
    """The highest rate and concurrency that operators allow the lanes of a tenant."""

    tenant = models.OneToOneField(
        Tenant, models.CASCADE, primary_key=True, related_name="lane_ceiling"
    )
    # Null: no ceiling.
    max_per_second = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    max_concurrency = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )

    def __str__(self) -> str:
        return f"the ceiling of {self.tenant}"
