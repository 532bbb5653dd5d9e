"""What can be done with tenants and users: provision, issue, revoke, rotate."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.backends.db import SessionStore
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from accounts import audit, credentials, encryption
from accounts.activity import report_activity
from accounts.models import (
    LONGEST_RETENTION,
    Role,
    Scope,
    SigningSecret,
    Tenant,
    Token,
    User,
    digest,
    mint_token,
)
from accounts.refusals import URL_REFUSALS
from scheduler_service.db import clock

logger = logging.getLogger(__name__)

# How long a rotated secret or token still counts, so that everybody can follow.
OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=30)


class AccountError(Exception):
    """What the accounts refuse, in a sentence that a person can act on."""


class UserExists(AccountError):
    """The name is taken."""


@transaction.atomic
def provision(tenant_name: str, user_name: str) -> User:
    """The user of that name in that tenant; both are created if absent."""
    tenant, _ = _tenant(tenant_name)
    username = username_of(_usable(User, user_name), tenant)
    defaults = {
        "username": username,
        "password": make_password(None),
        "date_joined": clock.now,
    }
    try:
        user, created = User.objects.get_or_create(
            tenant=tenant, name=user_name, defaults=defaults
        )
    except IntegrityError:
        raise AccountError(
            f"The username {username} belongs to somebody else."
        ) from None
    if created:
        audit.record(tenant.pk, "user.add", [user_name], {"role": (None, user.role)})
    return user


@transaction.atomic
def add_user(tenant: Tenant, name: str, *, role: Role = Role.MEMBER) -> User:
    """A new user of a tenant. Raises UserExists where the name is taken."""
    username = username_of(_usable(User, name), tenant)
    user = User(
        tenant=tenant,
        name=name,
        username=username,
        role=role,
        password=make_password(None),
        date_joined=clock.now(),
    )
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise UserExists(f"There is a user {name} already.") from None
    audit.record(tenant.pk, "user.add", [name], {"role": (None, role)})
    return user


@transaction.atomic
def change_user(
    user: User, *, role: Role | None = None, is_active: bool | None = None
) -> User:
    """Give a user another role, close the door to them, or open it again."""
    user = User.objects.select_for_update(no_key=True, of=("self",)).get(pk=user.pk)
    before = {"role": user.role, "is_active": user.is_active}
    if role is not None:
        user.role = role
    if is_active is not None:
        user.is_active = is_active
    after = {"role": user.role, "is_active": user.is_active}
    if changes := audit.differences(before, after):
        user.save(update_fields=list(changes))
        audit.record(user.tenant_id, _verb(changes), [audited_name(user)], changes)
    if is_active is not None:
        report_activity(user)
    return user


def _verb(changes: audit.Changes) -> str:
    if "role" in changes:
        return "user.change"
    return "user.activate" if changes["is_active"][1] else "user.deactivate"


def audited_name(user: User) -> str:
    """As the audit log of the user's tenant knows them."""
    return user.name or user.username


def username_of(name: str, tenant: Tenant | None) -> str:
    username = f"{name}@{tenant}" if tenant else name
    if len(username) > _longest(User, "username"):
        raise AccountError(f"The names are too long together: {username}.")
    return username


def issue_token(
    user: User,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    scope: Scope = Scope.ADMIN,
) -> str:
    """The clear text of a new token; it is stored nowhere and cannot be had again."""
    _, clear_text = new_token(user, name=name, expires_at=expires_at, scope=scope)
    return clear_text


@transaction.atomic
def new_token(
    user: User,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    scope: Scope = Scope.ADMIN,
) -> tuple[Token, str]:
    """A new token and its clear text, which is stored nowhere."""
    token, clear_text = _mint(user, name=name, expires_at=expires_at, scope=scope)
    changes = {"user": (None, audited_name(user)), "scope": (None, scope)}
    audit.record(user.tenant_id, "token.issue", [token.uuid], changes)
    return token, clear_text


def _mint(
    user: User, *, name: str, expires_at: datetime | None, scope: str
) -> tuple[Token, str]:
    if not user.is_active:
        raise AccountError(f"{user} is deactivated, so a token would be of no use.")
    if len(name) > _longest(Token, "name"):
        raise AccountError("The name of the token is too long.")
    clear_text = mint_token()
    token = Token.objects.create(
        user=user,
        name=name,
        digest=digest(clear_text),
        prefix=clear_text[: _longest(Token, "prefix")],
        scope=scope,
        expires_at=expires_at,
    )
    return token, clear_text


@transaction.atomic
def rotate_token(
    token: Token,
    *,
    now: datetime,
    overlap: timedelta = OVERLAP,
    latest: datetime | None = None,
) -> tuple[Token, str]:
    """A token in the place of one, which lives on for the overlap and no longer.

    The new one is of the same user, name and scope, and ends when the one before was to
    end, or at `latest` if that is sooner: nobody lives longer by being rotated. Raises
    AccountError where that one counts no more.
    """
    _check_overlap(overlap)
    live = Token.objects.live(now).select_for_update(of=("self",))
    token = live.select_related("user").filter(pk=token.pk).first() or _refuse_dead()
    user, ends_at = token.user, now + overlap
    ends = [end for end in (token.expires_at, latest) if end is not None]
    new, clear_text = _mint(
        user, name=token.name, expires_at=min(ends, default=None), scope=token.scope
    )
    token.expires_at = min(token.expires_at or ends_at, ends_at)
    token.save(update_fields=["expires_at"])
    changes = {"user": (None, audited_name(user)), "new": (None, str(new.uuid))}
    audit.record(user.tenant_id, "token.rotate", [token.uuid], changes)
    return new, clear_text


def _refuse_dead() -> Token:
    raise AccountError("The token is revoked or has expired; issue a new one.")


def _check_overlap(overlap: timedelta) -> None:
    if not timedelta() <= overlap <= LONGEST_OVERLAP:
        raise AccountError(
            f"The overlap must be from 0 to {LONGEST_OVERLAP.days} days."
        )


def revoke_token(clear_text: str, *, now: datetime) -> bool:
    """Whether there is such a token; from now on, in any case, it opens nothing."""
    tokens = Token.objects.filter(digest=digest(clear_text))
    revoke_tokens(tokens, now=now)
    return tokens.exists()


@transaction.atomic
def revoke_tokens(tokens: QuerySet[Token], *, now: datetime) -> int:
    """Revoke those that are not revoked yet, and say how many they were."""
    living = tokens.filter(revoked_at=None).order_by("pk")
    rows = living.select_for_update(of=("self",)).values_list(
        "pk", "uuid", "user__tenant"
    )
    of_tenant = defaultdict(list)
    revoked = []
    for pk, uuid, tenant_id in rows:
        revoked.append(pk)
        of_tenant[tenant_id].append(uuid)
    Token.objects.filter(pk__in=revoked).update(revoked_at=now)
    for tenant_id, uuids in of_tenant.items():
        audit.record(tenant_id, "token.revoke", uuids)
    return len(revoked)


def deactivate_user(name: str, *, tenant: str | None = None) -> User:
    """Close the door to one user, known by name or username; their tasks wait."""
    return change_user(find_user(name, tenant=tenant), is_active=False)


def find_user(name: str, *, tenant: str | None = None) -> User:
    """The one user of that name or username. Raises AccountError if there are more."""
    users = User.objects.filter(Q(name=name) | Q(username=name))
    if tenant is not None:
        users = users.filter(tenant__name=tenant)
    match list(users.select_related("tenant").order_by("username")):
        case []:
            raise AccountError(f"There is no user {name}.")
        case [user]:
            return user
        case several:
            names = ", ".join(str(user) for user in several)
            raise AccountError(f"{name} may be any of {names}; say which tenant's.")


@transaction.atomic
def configure_tenant(
    name: str,
    *,
    callback_url: str | None = None,
    notification_url: str | None = None,
    shared_secret: str | None = None,
    max_in_flight: int | None = None,
    retention_days: int | None = None,
) -> tuple[Tenant, bool]:
    """Set what is given and clear what is empty or 0; the tenant is created if absent.

    Returns the tenant, and whether it is new.
    """
    tenant, created = _tenant(name)
    before = audited_settings(tenant)
    changed = []
    if callback_url is not None:
        tenant.callback_url = callback_url_for(tenant, callback_url)
        changed += ["callback_url"]
    if notification_url is not None:
        tenant.notification_url = notification_url_for(tenant, notification_url)
        changed += ["notification_url"]
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
    changes = _told(audit.differences(before, audited_settings(tenant)))
    audit.record(tenant.pk, "tenant.change", [tenant.name] if changes else [], changes)
    return tenant, created


def audited_settings(tenant: Tenant) -> dict[str, Any]:
    """What may have changed as an entry of the audit log is made; not as it tells it."""
    return {
        "name": tenant.name,
        "callback_url": tenant.callback_url,
        "notification_url": tenant.notification_url,
        "shared_secret": tenant.shared_secret_digest,
        "max_in_flight": tenant.max_in_flight,
        "retention_days": tenant.retention_days,
    }


def _told(changes: audit.Changes) -> audit.Changes:
    """Without secrets, also where it is nothing but a secret that has changed."""
    told = {
        name: (audit.shown(before), audit.shown(after))
        for name, (before, after) in changes.items()
    }
    if "shared_secret" in told:
        told["shared_secret"] = audit.REDACTED, audit.REDACTED
    return told


def callback_url_for(tenant: Tenant, url: str) -> str:
    """As it is stored for a tenant; raises AccountError where it may not be called.

    An empty one stands for none, and the one that is shown for the one that is there.
    """
    return _url_for(tenant.callback_url, url, "callback")


def notification_url_for(tenant: Tenant, url: str) -> str:
    return _url_for(tenant.notification_url, url, "notification")


def _url_for(kept: str, url: str, what: str) -> str:
    if credentials.of(kept) is not None and url == credentials.hidden(kept):
        return kept
    for refusal in URL_REFUSALS if url else ():
        if why := refusal(url):
            raise AccountError(f"Invalid value of the {what} URL. {why}")
    if credentials.of(url) == credentials.HIDDEN:
        raise AccountError(
            f"Invalid value of the {what} URL. It has {credentials.HIDDEN} in the place "
            "of its credentials."
        )
    return kept if encryption.is_same_url(kept, url) else encryption.seal_url(url)


def check_shared_secret(secret: str) -> None:
    """Refuse what cannot be one; an empty one stands for none."""
    least = settings.SCHEDULER_MIN_SECRET_LENGTH
    if 0 < len(secret) < least:
        raise AccountError(
            f"The shared secret must have at least {least} characters, or it is guessed."
        )
    # It travels in a header, where anything else is lost or changed on the way.
    if not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise AccountError(
            "The shared secret must be printable ASCII, with no space at its ends."
        )
    if encryption.is_sealed(secret):
        raise AccountError("The shared secret looks like one that is encrypted.")


@transaction.atomic
def rotate_signing_secret(
    tenant: Tenant, *, now: datetime, overlap: timedelta = OVERLAP
) -> str:
    """A new secret for a tenant; the ones before it stay live during the overlap."""
    _check_overlap(overlap)
    # One at a time, or the secret of a rotation in parallel would never expire.
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    end = now + overlap
    older = tenant.signing_secrets.filter(Q(expires_at=None) | Q(expires_at__gt=end))
    older.update(expires_at=end)
    secret: str = SigningSecret.objects.create(tenant=tenant, created_at=now).secret
    audit.record(tenant.pk, "signing_secret.rotate", [fingerprint(secret)])
    return secret


def fingerprint(secret: str) -> str:
    """What a signing secret may be known by: it tells nothing about 256 random bits."""
    return digest(secret)[:16]


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
        if not encryption.is_sealed(secret):
            secrets[tenant_id].append(secret)
    tenants = Tenant.objects.filter(pk__in=tenant_ids)
    return {tenant.pk: _keyring(tenant, secrets[tenant.pk]) for tenant in tenants}


def _keyring(tenant: Tenant, signing_secrets: Sequence[str]) -> Keyring:
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


def live_signing_secrets(tenant_id: int, now: datetime) -> list[str]:
    """The clear texts, newest first."""
    return list(keyrings([tenant_id], now)[tenant_id].signing_secrets)


def clear_sessions() -> None:
    """Forget the sessions of the admin that have expired."""
    SessionStore.clear_expired()


def _tenant(name: str) -> tuple[Tenant, bool]:
    tenant, created = Tenant.objects.get_or_create(name=_usable(Tenant, name))
    if created:
        SigningSecret.objects.create(tenant=tenant)
        audit.record(tenant.pk, "tenant.create", [name])
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
