"""What can be done with tenants and users: provision, issue, revoke, rotate."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from accounts.models import (
    LONGEST_RETENTION,
    SigningSecret,
    Tenant,
    Token,
    User,
    digest,
    mint_token,
)

logger = logging.getLogger(__name__)

# How long a rotated signing secret still verifies, so that receivers can follow.
OVERLAP = timedelta(hours=24)


class AccountError(Exception):
    """What the accounts refuse, in a sentence that a person can act on."""


@transaction.atomic
def provision(tenant_name: str, user_name: str) -> User:
    """The user of that name in that tenant; both are created if absent."""
    tenant, _ = _tenant(tenant_name)
    username = username_of(_usable(User, user_name), tenant)
    defaults = {"username": username, "password": make_password(None)}
    try:
        user, _ = User.objects.get_or_create(
            tenant=tenant, name=user_name, defaults=defaults
        )
    except IntegrityError:
        raise AccountError(
            f"The username {username} belongs to somebody else."
        ) from None
    return user


def username_of(name: str, tenant: Tenant | None) -> str:
    username = f"{name}@{tenant}" if tenant else name
    if len(username) > _longest(User, "username"):
        raise AccountError(f"The names are too long together: {username}.")
    return username


def issue_token(
    user: User, *, name: str = "", expires_at: datetime | None = None
) -> str:
    """The clear text of a new token; it is stored nowhere and cannot be had again."""
    if not user.is_active:
        raise AccountError(f"{user} is deactivated, so a token would be of no use.")
    if len(name) > _longest(Token, "name"):
        raise AccountError("The name of the token is too long.")
    clear_text = mint_token()
    Token.objects.create(
        user=user,
        name=name,
        digest=digest(clear_text),
        prefix=clear_text[: _longest(Token, "prefix")],
        expires_at=expires_at,
    )
    return clear_text


def revoke_token(clear_text: str, *, now: datetime) -> bool:
    """Whether there is such a token; from now on, in any case, it opens nothing."""
    tokens = Token.objects.filter(digest=digest(clear_text))
    revoke_tokens(tokens, now=now)
    return tokens.exists()


def revoke_tokens(tokens: QuerySet[Token], *, now: datetime) -> int:
    """Revoke those that are not revoked yet, and say how many they were."""
    return tokens.filter(revoked_at=None).update(revoked_at=now)


def deactivate_user(name: str, *, tenant: str | None = None) -> User:
    """Close the door to one user, known by name or by username; their tasks stay."""
    users = User.objects.filter(Q(name=name) | Q(username=name))
    if tenant is not None:
        users = users.filter(tenant__name=tenant)
    match list(users.select_related("tenant").order_by("username")):
        case []:
            raise AccountError(f"There is no user {name}.")
        case [user]:
            user.is_active = False
            user.save(update_fields=["is_active"])
            return user
        case several:
            names = ", ".join(str(user) for user in several)
            raise AccountError(f"{name} may be any of {names}; say which tenant's.")


@transaction.atomic
def configure_tenant(
    name: str,
    *,
    callback_url: str | None = None,
    shared_secret: str | None = None,
    max_in_flight: int | None = None,
    retention_days: int | None = None,
) -> tuple[Tenant, bool]:
    """Set what is given and clear what is empty or 0; the tenant is created if absent.

    Returns the tenant, and whether it is new.
    """
    tenant, created = _tenant(name)
    changed = []
    if callback_url is not None:
        check_callback_url(callback_url)
        tenant.callback_url = callback_url
        changed += ["callback_url"]
    if shared_secret is not None:
        check_shared_secret(shared_secret)
        tenant.shared_secret = shared_secret or None
        tenant.shared_secret_digest = digest(shared_secret) if shared_secret else None
        changed += ["shared_secret", "shared_secret_digest"]
    if max_in_flight is not None:
        if not 0 <= max_in_flight < 2**31:
            raise AccountError("The number of runs in flight is out of range.")
        tenant.max_in_flight = max_in_flight or None
        changed += ["max_in_flight"]
    if retention_days is not None:
        if not 0 <= retention_days <= LONGEST_RETENTION:
            raise AccountError(
                f"The days of retention must be from 0 to {LONGEST_RETENTION}."
            )
        tenant.retention_days = retention_days or None
        changed += ["retention_days"]
    try:
        tenant.save(update_fields=changed)
    except IntegrityError:
        raise AccountError(
            "Another tenant has this shared secret; choose another one."
        ) from None
    return tenant, created


def check_callback_url(url: str) -> None:
    """Refuse what could not be called; an empty one stands for none."""
    try:
        parts = urlsplit(url)
        is_callable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_callable = False
    if url and not (is_callable and url.isprintable() and " " not in url):
        raise AccountError(
            f"The callback URL must be an absolute http or https URL, not {url!r}."
        )


def check_shared_secret(secret: str) -> None:
    # It travels in a header, where anything else is lost or changed on the way.
    if not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise AccountError(
            "The shared secret must be printable ASCII, with no space at its ends."
        )


@transaction.atomic
def rotate_signing_secret(
    tenant: Tenant, *, now: datetime, overlap: timedelta = OVERLAP
) -> str:
    """A new secret for a tenant; the ones before it stay live during the overlap."""
    # One at a time, or the secret of a rotation in parallel would never expire.
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    end = now + overlap
    older = tenant.signing_secrets.filter(Q(expires_at=None) | Q(expires_at__gt=end))
    older.update(expires_at=end)
    secret: str = SigningSecret.objects.create(tenant=tenant, created_at=now).secret
    return secret


class Keyring(NamedTuple):
    """What a tenant's outgoing requests need: secrets in clear, the newest first."""

    signing_secrets: Sequence[str]
    callback_url: str
    shared_secret: str


def own_limits() -> dict[int, int]:
    """How many requests those tenants may have under way that have a limit of their own."""
    limits = Tenant.objects.values_list("pk", "max_in_flight")
    return {pk: most for pk, most in limits.exclude(max_in_flight=None) if most}


def keyrings(tenant_ids: Collection[int], now: datetime) -> dict[int, Keyring]:
    """The keyring of each of these tenants, in two queries."""
    live = SigningSecret.objects.live(now).filter(tenant__in=tenant_ids)
    secrets: dict[int, list[str]] = defaultdict(list)
    for tenant_id, secret in live.order_by("-created_at", "-pk").values_list(
        "tenant", "secret"
    ):
        # What SECRET_KEY no longer opens comes out as it lies in the table.
        if secret.startswith("whsec_"):
            secrets[tenant_id].append(secret)
        else:
            logger.error("SECRET_KEY opens no signing secret of tenant %s.", tenant_id)
    tenants = Tenant.objects.filter(pk__in=tenant_ids)
    return {
        tenant.pk: Keyring(
            secrets[tenant.pk], tenant.callback_url, tenant.shared_secret or ""
        )
        for tenant in tenants
    }


def live_signing_secrets(tenant_id: int, now: datetime) -> list[str]:
    """The clear texts, newest first."""
    return list(keyrings([tenant_id], now)[tenant_id].signing_secrets)


def derive_keys() -> None:
    """Do now what the first secret would wait for: a key is slow to derive on purpose."""
    field: Any = SigningSecret._meta.get_field("secret")
    _ = field.f


def _tenant(name: str) -> tuple[Tenant, bool]:
    tenant, created = Tenant.objects.get_or_create(name=_usable(Tenant, name))
    if created:
        SigningSecret.objects.create(tenant=tenant)
    return tenant, created


def _usable(model: type[Tenant | User], name: str) -> str:
    kind, longest = model._meta.verbose_name, _longest(model, "name")
    if not name or name != name.strip() or not name.isprintable():
        raise AccountError(f"{name!r} cannot be the name of a {kind}.")
    if len(name) > longest:
        raise AccountError(f"The name of a {kind} has at most {longest} characters.")
    return name


def _longest(model: type[Tenant | User | Token], column: str) -> int:
    field: Any = model._meta.get_field(column)
    return int(field.max_length)
