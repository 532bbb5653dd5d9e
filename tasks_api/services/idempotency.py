"""Idempotency keys: a repeated request gets the answer that the first one got."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import KeyInUse, KeyReused
from tasks_api.models import IdempotencyKey

# How long a key is remembered.
KEY_LIFETIME = timedelta(hours=24)


class StoredAnswer(NamedTuple):
    """The answer to the first request: its status, some of its headers, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


def find_answer(
    user: User, key: str, fingerprint: str, *, now: datetime
) -> StoredAnswer | None:
    """The answer that was stored under a user's key; None when the key is new.

    Belongs into the transaction that does the work, which then holds the key until it
    ends.
    Raises KeyInUse while another request holds it, and KeyReused if it came with another
    fingerprint.
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
    """Store an answer in the transaction of the work itself: a crash leaves neither."""
    IdempotencyKey.objects.update_or_create(
        user=user,
        key=key,
        defaults={
            "fingerprint": fingerprint,
            "status": answer.status,
            "headers": answer.headers,
            "body": answer.body,
            "created_at": now,
        },
    )
