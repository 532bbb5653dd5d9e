"""Rotate the secrets that requests are signed with, and load them for a worker."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q

from accounts import audit, encryption
from accounts.models import SigningSecret, Tenant, digest
from accounts.services.rotation import DEFAULT_OVERLAP, check_overlap

logger = logging.getLogger(__name__)

MAX_LISTED = 20


@transaction.atomic
def rotate_signing_secret(
    tenant: Tenant, *, now: datetime, overlap: timedelta = DEFAULT_OVERLAP
) -> str:
    """A new secret for a tenant; the older ones stay live during the overlap."""
    check_overlap(overlap)
    # Two rotations at once would leave a secret that never expires.
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    end = now + overlap
    older = tenant.signing_secrets.filter(Q(expires_at=None) | Q(expires_at__gt=end))
    older.update(expires_at=end)
    secret: str = SigningSecret.objects.create(tenant=tenant, created_at=now).secret
    audit.record(tenant.pk, "signing_secret.rotate", [fingerprint(secret)])
    return secret


class SecretSummary(NamedTuple):
    """A signing secret; the clear text is empty if SECRET_KEY does not open it."""

    fingerprint: str
    clear_text: str
    created_at: datetime
    expires_at: datetime | None
    is_live: bool


def list_signing_secrets(tenant: Tenant, *, now: datetime) -> list[SecretSummary]:
    """The secrets of a tenant, the newest first, also some that have ended."""
    newest_first = tenant.signing_secrets.order_by("-created_at", "-pk")
    return [_summarize(each, now) for each in newest_first[:MAX_LISTED]]


def _summarize(secret: SigningSecret, now: datetime) -> SecretSummary:
    text, end = secret.secret, secret.expires_at
    return SecretSummary(
        fingerprint(text),
        "" if encryption.is_sealed(text) else text,
        secret.created_at,
        end,
        is_live=end is None or end > now,
    )


def fingerprint(secret: str) -> str:
    """A name for a signing secret, which reveals nothing about its 256 random bits."""
    return digest(secret)[:16]


class Keyring(NamedTuple):
    """The secrets for a tenant's outgoing requests, in clear, the newest first."""

    signing_secrets: Sequence[str]
    callback_url: str
    shared_secret: str


def load_keyrings(tenant_ids: Collection[int], now: datetime) -> dict[int, Keyring]:
    """The keyring of each of these tenants, in two queries."""
    live = SigningSecret.objects.live(now).filter(tenant__in=tenant_ids)
    secrets: dict[int, list[str]] = defaultdict(list)
    for tenant_id, secret in live.order_by("-created_at", "-pk").values_list(
        "tenant", "secret"
    ):
        if not encryption.is_sealed(secret):
            secrets[tenant_id].append(secret)
    tenants = Tenant.objects.filter(pk__in=tenant_ids)
    return {tenant.pk: _build_keyring(tenant, secrets[tenant.pk]) for tenant in tenants}


def _build_keyring(tenant: Tenant, signing_secrets: Sequence[str]) -> Keyring:
    shared_secret = tenant.shared_secret or ""
    if not signing_secrets:
        logger.error(
            "Requests of tenant %s leave unsigned: it has no signing secret that "
            "SECRET_KEY opens.",
            tenant.pk,
        )
    if encryption.is_sealed(shared_secret):
        logger.error("SECRET_KEY does not open the shared secret of %s.", tenant.pk)
        shared_secret = ""
    return Keyring(signing_secrets, tenant.callback_url, shared_secret)


def load_signing_secrets(tenant_id: int, now: datetime) -> list[str]:
    """The live signing secrets of a tenant in clear, the newest first."""
    return list(load_keyrings([tenant_id], now)[tenant_id].signing_secrets)
