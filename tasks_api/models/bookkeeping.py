"""Bookkeeping of the service: idempotency keys, heartbeats and the key of run ids."""

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
