"""Invite people into a tenant by a link that works once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.models import Invitation, Role, Tenant, User, digest
from accounts.services.errors import AccountError, InvitationClosed, StaffAccount
from accounts.services.names import check_name
from accounts.services.users import add_user, change_user, name_in_audit

CLOSED = "This invitation was used or withdrawn, or it has expired. Ask for a new one."
MAX_LISTED = 50
# How long an invitation is kept after its end.
KEPT_FOR = timedelta(days=30)


def create_invitation(
    tenant: Tenant,
    *,
    role: Role,
    now: datetime,
    by: str,
    name: str = "",
    email: str = "",
    lifetime: timedelta | None = None,
) -> tuple[Invitation, str]:
    """An invitation for a new user, and the secret part of its link.

    Without a name the person chooses one. Raises AccountError if the name is taken.
    """
    if name:
        check_name(User, name)
        if User.objects.filter(tenant=tenant, name=name).exists():
            raise AccountError(f"There is a user {name} already.")
    draft = Invitation(tenant=tenant, role=role, name=name, email=email, created_by=by)
    return _store(draft, now, lifetime)


def invite_user(
    user: User,
    *,
    now: datetime,
    by: str,
    role: Role | None = None,
    lifetime: timedelta | None = None,
) -> tuple[Invitation, str]:
    """An invitation for a user who is there already, to choose a password.

    Raises AccountError if the user is deactivated or has no tenant.
    """
    if user.tenant is None or not user.is_active:
        raise AccountError(f"{user} is deactivated or has no tenant.")
    draft = Invitation(
        tenant=user.tenant,
        user=user,
        name=user.name,
        email=user.email,
        role=role or user.role,
        created_by=by,
    )
    return _store(draft, now, lifetime)


def require_no_password(user: User) -> None:
    """Raise AccountError if a link would replace a password, or let staff in."""
    if user.is_staff or user.is_superuser:
        raise StaffAccount("Only the operators of the service may invite its staff")
    if user.has_usable_password():
        raise AccountError(f"{user.name} has a password, and resets it by mail.")


@transaction.atomic
def _store(
    draft: Invitation, now: datetime, lifetime: timedelta | None
) -> tuple[Invitation, str]:
    secret = secrets.token_urlsafe(32)
    draft.digest = digest(secret)
    draft.expires_at = now + (lifetime or _default_lifetime())
    draft.save(force_insert=True)
    draft.refresh_from_db()
    changes = {"role": (None, draft.role)}
    if draft.name:
        changes["user"] = (None, draft.name)
    audit.record(draft.tenant_id, "invitation.create", [draft.uuid], changes)
    return draft, secret


def _default_lifetime() -> timedelta:
    return timedelta(days=settings.SCHEDULER_INVITATION_DAYS)


def find_invitation(secret: str, *, now: datetime) -> Invitation:
    """The open invitation of a link. Raises InvitationClosed."""
    found = Invitation.objects.open(now).filter(digest=digest(secret))
    invitation = found.select_related("tenant", "user").first()
    if invitation is None:
        raise InvitationClosed(CLOSED)
    return invitation


@transaction.atomic
def accept_invitation(
    secret: str, *, name: str, password: str, email: str = "", now: datetime
) -> User:
    """Use up an invitation; returns the user who has the password from now on.

    `name` and `email` count where the invitation leaves them open. Raises
    InvitationClosed, UserExists or AccountError.
    """
    # The lock makes one of two concurrent calls find the invitation used.
    rows = Invitation.objects.open(now).select_for_update(of=("self",))
    invitation = rows.filter(digest=digest(secret)).first()
    if invitation is None:
        raise InvitationClosed(CLOSED)
    user = _let_in(invitation, name)
    user.email = user.email or invitation.email or email
    user.set_password(password)
    user.save(update_fields=["email", "password"])
    Invitation.objects.filter(pk=invitation.pk).update(accepted_at=now, user=user)
    changes = {"user": (None, name_in_audit(user))}
    audit.record(user.tenant_id, "invitation.accept", [invitation.uuid], changes)
    return user


def _let_in(invitation: Invitation, name: str) -> User:
    role = Role(invitation.role)
    if invitation.user is None:
        return add_user(invitation.tenant, invitation.name or name, role=role)
    if not invitation.user.is_active:
        raise InvitationClosed(CLOSED)
    return change_user(invitation.user, role=role)


def open_invitations(tenant: Tenant, *, now: datetime) -> Sequence[Invitation]:
    """The newest ones, and no more than fit on a page."""
    return list(tenant.invitations.open(now).order_by("-pk")[:MAX_LISTED])


@transaction.atomic
def revoke_invitation(tenant: Tenant, uuid: UUID, *, now: datetime) -> bool:
    """Close an invitation; returns whether the tenant had such an open one."""
    found = tenant.invitations.open(now).filter(uuid=uuid)
    is_revoked = bool(found.update(revoked_at=now))
    audit.record(tenant.pk, "invitation.revoke", [uuid] if is_revoked else [])
    return is_revoked


def delete_old_invitations(*, now: datetime) -> None:
    Invitation.objects.filter(expires_at__lt=now - KEPT_FOR).delete()
