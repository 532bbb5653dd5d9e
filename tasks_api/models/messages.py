"""The messages of the pull queue, and the tallies of its queues."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q

from accounts.models import Tenant


class MessageQuerySet(models.QuerySet["Message"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)


class Message(models.Model):
    """One item of the pull queue: it waits for a consumer, or is leased by one."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="messages", db_index=False
    )
    queue = models.CharField(max_length=255)
    # The client name.
    name = models.CharField(max_length=255)
    timeout_seconds = models.PositiveIntegerField()
    # A number below zero means no limit.
    max_retries = models.IntegerField(default=0)
    retry_count = models.PositiveIntegerField(default=0)
    # Text, not jsonb: numbers and key order reach the consumer as they were posted.
    payload = models.TextField(default="null")
    # A consumer's note for the consumer that leases the message next; JSON text.
    state = models.TextField(null=True)  # noqa: DJ001 (no state differs from any JSON)
    run_at = models.DateTimeField()
    # Null while the message waits. When this moment has passed, it waits again.
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
            # Read by /next: waiting messages, oldest first.
            models.Index(
                fields=["tenant", "queue", "run_at", "id"],
                name="message_waits",
                condition=Q(leased_until=None),
            ),
            # Read by /next: messages whose lease ran out.
            models.Index(
                fields=["tenant", "queue", "leased_until"],
                name="message_leased",
                condition=Q(leased_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} in {self.queue}"


class QueueTally(models.Model):
    """The number of messages of a queue that were deleted with no retry left."""

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
