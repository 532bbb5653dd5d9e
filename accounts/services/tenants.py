"""Create and configure tenants."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts import audit, encryption, url_credentials
from accounts.models import MAX_RETENTION_DAYS, Plan, SigningSecret, Tenant, digest
from accounts.services import routing
from accounts.services.errors import AccountError
from accounts.services.names import check_name
from accounts.url_checks import URL_CHECKS

# What an integer column of PostgreSQL holds.
MAX_INTEGER = 2**31 - 1


def get_or_create_tenant(name: str) -> tuple[Tenant, bool]:
    known = Tenant.objects.filter(name=check_name(Tenant, name)).first()
    if known is not None:
        return known, False
    given_id = routing.reserve_tenant_id(name)
    defaults = {} if given_id is None else {"pk": given_id}
    tenant, created = Tenant.objects.get_or_create(name=name, defaults=defaults)
    if created:
        SigningSecret.objects.create(tenant=tenant)
        audit.record(tenant.pk, "tenant.create", [name])
    return tenant, created


@transaction.atomic
def configure_tenant(
    name: str,
    *,
    callback_url: str | None = None,
    notification_url: str | None = None,
    shared_secret: str | None = None,
    max_in_flight: int | None = None,
    retention_days: int | None = None,
    plan: str | None = None,
) -> tuple[Tenant, bool]:
    """Change the given settings; an empty text or 0 clears one.

    The tenant is created if absent. Returns the tenant, and whether it is new.
    """
    tenant, created = get_or_create_tenant(name)
    before = audited_settings(tenant)
    changed = [
        *_set_urls(tenant, callback_url, notification_url),
        *_set_shared_secret(tenant, shared_secret),
        *_set_limits(tenant, max_in_flight, retention_days),
        *_set_plan(tenant, plan),
    ]
    try:
        tenant.save(update_fields=changed)
    except IntegrityError:
        raise AccountError(
            "Another tenant has this shared secret; choose another one."
        ) from None
    changes = _redacted(audit.find_changes(before, audited_settings(tenant)))
    audit.record(tenant.pk, "tenant.change", [tenant.name] if changes else [], changes)
    return tenant, created


def _set_urls(
    tenant: Tenant, callback_url: str | None, notification_url: str | None
) -> list[str]:
    changed = []
    if callback_url is not None:
        tenant.callback_url = parse_callback_url(tenant, callback_url)
        changed += ["callback_url"]
    if notification_url is not None:
        tenant.notification_url = parse_notification_url(tenant, notification_url)
        changed += ["notification_url"]
    return changed


def _set_plan(tenant: Tenant, name: str | None) -> list[str]:
    if name is None:
        return []
    tenant.plan = Plan.objects.filter(name=name).first() if name else None
    if name and tenant.plan is None:
        raise AccountError(f"There is no plan {name}.")
    return ["plan"]


def _set_shared_secret(tenant: Tenant, secret: str | None) -> list[str]:
    if secret is None:
        return []
    check_shared_secret(secret)
    before = tenant.shared_secret_digest
    tenant.shared_secret = secret or None
    tenant.shared_secret_digest = digest(secret) if secret else None
    routing.replace_credential(tenant, before, tenant.shared_secret_digest)
    return ["shared_secret", "shared_secret_digest"]


def _set_limits(
    tenant: Tenant, max_in_flight: int | None, retention_days: int | None
) -> list[str]:
    changed = []
    if max_in_flight is not None:
        if not 0 <= max_in_flight <= MAX_INTEGER:
            raise AccountError("The number of runs in flight is out of range.")
        tenant.max_in_flight = max_in_flight or None
        changed += ["max_in_flight"]
    if retention_days is not None:
        if not 0 <= retention_days <= MAX_RETENTION_DAYS:
            raise AccountError(
                f"The days of retention must be from 0 to {MAX_RETENTION_DAYS}."
            )
        tenant.retention_days = retention_days or None
        changed += ["retention_days"]
    return changed


def audited_settings(tenant: Tenant) -> dict[str, Any]:
    """The settings that the audit log compares, with the digest of the secret."""
    return {
        "name": tenant.name,
        "callback_url": tenant.callback_url,
        "notification_url": tenant.notification_url,
        "shared_secret": tenant.shared_secret_digest,
        "max_in_flight": tenant.max_in_flight,
        "retention_days": tenant.retention_days,
        "plan": tenant.plan and tenant.plan.name,
    }


def _redacted(changes: audit.Changes) -> audit.Changes:
    """The changes without secrets and credentials."""
    redacted = {
        name: (audit.mask_if_url(before), audit.mask_if_url(after))
        for name, (before, after) in changes.items()
    }
    if "shared_secret" in redacted:
        redacted["shared_secret"] = audit.REDACTED, audit.REDACTED
    return redacted


def parse_callback_url(tenant: Tenant, url: str) -> str:
    """The URL as it is stored. Raises AccountError if it may not be called.

    An empty URL clears the setting, and the masked one keeps it.
    """
    return _parse_url(tenant.callback_url, url, "callback")


def parse_notification_url(tenant: Tenant, url: str) -> str:
    return _parse_url(tenant.notification_url, url, "notification")


def _parse_url(stored: str, url: str, kind: str) -> str:
    has_credentials = url_credentials.find(stored) is not None
    if has_credentials and url == url_credentials.mask(stored):
        return stored
    for find_problem in URL_CHECKS if url else ():
        if problem := find_problem(url):
            raise AccountError(f"Invalid value of the {kind} URL. {problem}")
    if url_credentials.find(url) == url_credentials.MASK:
        raise AccountError(
            f"Invalid value of the {kind} URL. It has {url_credentials.MASK} in the place "
            "of its credentials."
        )
    return stored if encryption.is_same_url(stored, url) else encryption.seal_url(url)


def check_shared_secret(secret: str) -> None:
    """Raise AccountError if this cannot be a shared secret; an empty one clears it."""
    minimum = settings.SCHEDULER_MIN_SECRET_LENGTH
    if 0 < len(secret) < minimum:
        raise AccountError(
            f"The shared secret must have at least {minimum} characters, or it is guessed."
        )
    # It is sent in a header, where other characters are lost or changed.
    if not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise AccountError(
            "The shared secret must be printable ASCII, with no space at its ends."
        )
    if encryption.is_sealed(secret):
        raise AccountError("The shared secret looks like one that is encrypted.")
