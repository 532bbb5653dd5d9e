"""The messages of the pull queue, and how many were given up on."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from accounts.models import Tenant


class MessageQuerySet(models.QuerySet["Message"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)


class Message(models.Model):
    """One item of the pull queue: waiting for a consumer, or leased by one."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="messages", db_index=False
    )
    queue = models.CharField(max_length=255)
    # The id that its client chose.
    name = models.CharField(max_length=255)
    timeout_seconds = models.PositiveIntegerField()
    # Below zero is without end.
    max_retries = models.IntegerField(default=0)
    retry_count = models.PositiveIntegerField(default=0)
    # Text, not jsonb: numbers and key order reach the consumer as they were posted.
    payload = models.TextField(default="null")
    # What a consumer wants to be told if the message comes to another one; JSON text.
    state = models.TextField(null=True)  # noqa: DJ001 (no state differs from any JSON)
    run_at = models.DateTimeField()
    # Null while it waits. Once this has passed, it waits again.
    leased_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "queue", "name"], name="message_once_per_queue"
            )
        ]
        indexes = [
            # Read by /next: what waits, oldest first.
            models.Index(
                fields=["tenant", "queue", "run_at", "id"],
                name="message_waits",
                condition=Q(leased_until=None),
            ),
            # Read by /next: whose lease ran out.
            models.Index(
                fields=["tenant", "queue", "leased_until"],
                name="message_leased",
                condition=Q(leased_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} in {self.queue}"


class QueueTally(models.Model):
    """How many messages a pull queue gave up on, because no retry was left."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="queue_tallies", db_index=False
    )
    queue = models.CharField(max_length=255)
    exhausted = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "queue"], name="tally_once_per_queue"
            )
        ]
        verbose_name_plural = "queue tallies"

    def __str__(self) -> str:
        return self.queue
