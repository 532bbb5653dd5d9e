"""Quotas, the plans that set them for tenants, and the bounds of tokens.

They are models of this app; `accounts.models` has them with all others.
"""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class QuotaColumns(models.Model):
    """The quotas of a plan, a tenant or a token; null is none of its own."""

    max_tasks = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Living tasks at a time."
    )
    max_runs_per_day = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Runs that begin in a day."
    )
    max_requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requests to the API."
    )
    max_payload_bytes = models.PositiveIntegerField(
        null=True, blank=True, help_text="Bytes of the body of a task or a message."
    )

    class Meta:
        abstract = True


class Plan(QuotaColumns):
    """Quotas that several tenants have."""

    name = models.CharField(max_length=100, unique=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name


class TokenBoundsQuerySet(models.QuerySet["TokenBounds"]):
    def within(self, bounds: TokenBounds) -> Self:
        """Select these bounds, and those that were narrowed from them."""
        return self.filter(Q(pk=bounds.pk) | Q(lineage__contains=[bounds.pk]))


class TokenBounds(QuotaColumns):
    """What a token can do at most, and the tasks that are made with it.

    They never change, except for their renewal. A token that is issued with a bounded
    token has the same bounds or narrower ones. Null is no bound. A day is any 24 hours,
    and each request of a run counts.
    """

    tenant = models.ForeignKey("accounts.Tenant", models.CASCADE, related_name="+")
    # The ids of the bounds from which these were narrowed, the widest first. What counts
    # against these counts against those, too.
    lineage = ArrayField(models.BigIntegerField(), default=list, db_default=[])
    hosts = ArrayField(models.TextField(), null=True)
    # The beginnings of the paths that may be called.
    paths = ArrayField(models.TextField(), null=True)
    methods = ArrayField(models.TextField(), null=True)
    # Each task gets these.
    tags = ArrayField(models.TextField(), default=list, db_default=[])
    # The seconds from a write within which all of a task's fire times lie.
    horizon = models.PositiveBigIntegerField(null=True)
    # The seconds after a renewal at which all ends that was made with the token.
    renew_within = models.PositiveBigIntegerField(null=True)
    ends_at = models.DateTimeField(null=True)
    # When the tasks were ended because nobody had renewed the bounds.
    lapsed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TokenBoundsQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "token bounds"
        indexes = [
            # Read by the beat: bounds that nobody renewed in time.
            models.Index(
                fields=["ends_at"],
                name="bounds_lapse",
                condition=Q(ends_at__isnull=False, lapsed_at=None),
            ),
            # Read for a token's own tasks, which those of narrower tokens are, too.
            GinIndex(fields=["lineage"], name="bounds_of_lineage"),
        ]

    def __str__(self) -> str:
        return f"bounds {self.pk}"

    @property
    def all_ids(self) -> list[int]:
        """The ids of these bounds and of those from which they were narrowed."""
        return [*self.lineage, self.pk]
