"""Find who logs in, and forget what is left of logins that are over."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts import audit
from accounts.models import Role, Tenant, User
from accounts.services.errors import UserExists
from accounts.services.users import add_user, name_in_audit


def find_by_login(login: str) -> User | None:
    """The user of a username, or of an e-mail address that is verified.

    Only one user can have a verified address, so nobody can get in the way of another
    one by claiming theirs.
    """
    if not login or "\0" in login:
        return None
    user = User.objects.filter(username=login).select_related("tenant").first()
    return user or _find_by_email(login)


def _find_by_email(email: str) -> User | None:
    verified = EmailAddress.objects.filter(email__iexact=email, verified=True)
    address = verified.select_related("user__tenant").first()
    found = address.user if address else None
    return found if isinstance(found, User) else None


@transaction.atomic
def find_or_add_by_email(tenant: Tenant, email: str, *, role: Role) -> User:
    """The user of a tenant whom an identity provider knows by this verified address.

    A new one has the role, and is called what stands before the `@`.
    """
    user = _find_by_email(email)
    if user is not None and user.tenant_id == tenant.pk:
        return user
    added = _add_named_user(tenant, email, role)
    User.objects.filter(pk=added.pk).update(email=email)
    # The address may be verified for the same person in another tenant.
    if user is None:
        EmailAddress.objects.create(
            user=added, email=email, verified=True, primary=True
        )
    added.refresh_from_db()
    return added


def _add_named_user(tenant: Tenant, email: str, role: Role) -> User:
    try:
        return add_user(tenant, email.partition("@")[0], role=role)
    except UserExists:
        return add_user(tenant, email, role=role)


def has_only_identity(user: User) -> bool:
    """Whether an identity provider alone lets the user in, so that it can shut them out."""
    if user.has_usable_password():
        return False
    return bool(SocialAccount.objects.filter(user=user).exists())


@transaction.atomic
def remove_second_factors(user: User) -> int:
    """Remove authenticator apps, passkeys and recovery codes; returns how many."""
    found = Authenticator.objects.filter(user=user)
    count = int(found.delete()[0])
    name = name_in_audit(user)
    audit.record(user.tenant_id, "user.mfa_remove", [name] if count else [])
    return count


def delete_expired_sessions() -> None:
    """Delete expired sessions, and what is stored about sessions that ended."""
    SessionStore.clear_expired()
    session = Session.objects.filter(pk=OuterRef("session_key"))
    UserSession.objects.filter(~Exists(session)).delete()
