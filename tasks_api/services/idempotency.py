"""Idempotency keys: a repeated request gets the answer that the first one got."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import KeyInUse, KeyReused
from tasks_api.models import IdempotencyKey

# The time for which an answer is stored.
KEY_LIFETIME = timedelta(hours=24)


class StoredAnswer(NamedTuple):
    """The answer to the first request: its status, some of its headers, its body."""

    status: int
    headers: dict[str, str]
    body: bytes


def find_answer(
    user: User, key: str, fingerprint: str, *, now: datetime
) -> StoredAnswer | None:
    """Lock a user's key, and return the answer stored under it; None if the key is new.

    The caller must do the work in the same transaction, which holds the key until it
    ends. Raises KeyInUse while another request holds the key, and KeyReused if the
    first request had another fingerprint.
    """
    if not locks.try_acquire(LockKind.IDEMPOTENCY_KEY, user.pk, key):
        raise KeyInUse("The first request with this Idempotency-Key is under way")
    known = IdempotencyKey.objects.filter(
        user=user, key=key, created_at__gt=now - KEY_LIFETIME
    ).first()
    if known is None:
        return None
    if known.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before")
    return StoredAnswer(known.status, known.headers, bytes(known.body))


def store_answer(
    user: User, key: str, fingerprint: str, answer: StoredAnswer, *, now: datetime
) -> None:
    """Store an answer. The caller must do the work in the same transaction."""
    columns: dict[str, Any] = {
        "tenant_id": user.tenant_id,
        "fingerprint": fingerprint,
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "created_at": now,
    }
    IdempotencyKey.objects.update_or_create(user=user, key=key, defaults=columns)
