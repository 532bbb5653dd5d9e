"""Requests that are said twice under one idempotency key: remember the first answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import KeyInUse, KeyReused
from tasks_api.models import IdempotencyKey

# How long a key is remembered.
TERM = timedelta(hours=24)


class Answer(NamedTuple):
    """What was answered: a status, some of the headers, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


def recall(user: User, key: str, fingerprint: str, *, now: datetime) -> Answer | None:
    """What a user's key was answered; None where it is new, and then the caller's.

    To be called in the transaction that does the work: the key is held until its end.
    Raises KeyInUse while another request holds it, and KeyReused if it came with another
    fingerprint.
    """
    if not locks.try_acquire(LockKind.IDEMPOTENCY_KEY, user.pk, key):
        raise KeyInUse("The first request with this Idempotency-Key is under way")
    known = IdempotencyKey.objects.filter(
        user=user, key=key, created_at__gt=now - TERM
    ).first()
    if known is None:
        return None
    if known.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before")
    return Answer(known.status, known.headers, bytes(known.body))


def remember(
    user: User, key: str, fingerprint: str, answer: Answer, *, now: datetime
) -> None:
    """Keep an answer, in the transaction of what it tells of: a crash leaves neither."""
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
