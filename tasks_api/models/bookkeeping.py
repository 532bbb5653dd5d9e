"""Bookkeeping of the service: idempotency keys, heartbeats, gaps, the key of run ids."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from tasks_api.models.tenants import CopiedTenant


class IdempotencyKey(CopiedTenant):
    """A client's promise that two requests are one, and the answer to the first."""

    user = models.ForeignKey(
        User, models.CASCADE, related_name="idempotency_keys", db_index=False
    )
    key = models.CharField(max_length=255)
    # A digest of the request, to notice a different request with the same key.
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "key"], name="key_once_per_user")
        ]
        indexes = [
            # Read by retention.
            models.Index(fields=["created_at"], name="key_by_age")
        ]

    def __str__(self) -> str:
        return self.key


class Heartbeat(models.Model):
    """The row by which a beat or a worker says that it is alive."""

    name = models.CharField(max_length=200, primary_key=True)
    kind = models.CharField(max_length=10)
    seen_at = models.DateTimeField()
    # The key of the lock that a worker's session holds while its process lives.
    presence = models.IntegerField(null=True)

    def __str__(self) -> str:
        return self.name


class HeartbeatGap(models.Model):
    """A time in which no process of a kind was at work; see monitoring/gaps.py.

    Each kind has one open gap, which begins with the last note of such a process. The
    next note moves its beginning, or ends the gap if it has become long.
    """

    class Kind(models.TextChoices):
        WORKER = "worker"
        BEAT = "beat"
        # A beat could ring no bell. This gap is open only while that lasts.
        BROKER = "broker"

    kind = models.CharField(max_length=10, choices=Kind)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    # The process whose note ended the gap had lived before it: it was alive, and could
    # not reach the database.
    is_survived = models.BooleanField(default=False, db_default=False)
    # PostgreSQL was started within the gap.
    is_restart = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"],
                name="gap_open_once_per_kind",
                condition=Q(ended_at=None),
            )
        ]
        indexes = [
            # Read by the answer to why a task did not run, and by retention.
            models.Index(
                fields=["ended_at"],
                name="gap_by_end",
                condition=Q(ended_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"no {self.kind} from {self.began_at:%Y-%m-%d %H:%M:%S}"


class RunIdKey(models.Model):
    """The secret of the hash from which run ids are made; see `run_key.py`.

    SECRET_KEY cannot serve: it rotates, and a fire time must keep its id.
    """

    id = models.PositiveSmallIntegerField(primary_key=True)
    key = models.BinaryField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="run_id_key_is_one", condition=Q(id=1))
        ]

    def __str__(self) -> str:
        return "the key of run ids"
