"""Write logins, and changes of passwords and second factors, to the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from allauth.socialaccount import signals as single_sign_on
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.contrib.auth.signals import user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit, throttling
from accounts.access.login import client_address, typed_login
from accounts.audit import REDACTED, Actor
from accounts.models import User, Via
from accounts.services import find_by_login, name_in_audit

SOMEBODY = Actor("somebody", Via.CONSOLE)
PASSWORD_SIGNALS = [
    account.password_set,
    account.password_changed,
    account.password_reset,
]


@receiver(user_login_failed)
def _record_wrong_password(
    credentials: Mapping[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Write a wrong password to the log and to the audit log, unless there are too many."""
    typed = typed_login(credentials)
    user = find_by_login(typed)
    address = client_address(request.META if request else {})
    account = user.username if user else typed
    if throttling.record_wrong_password(address, account, is_known=user is not None):
        _record_failed_login(user, address, "password")


@receiver(mfa.authentication_failed)
def _record_wrong_factor(request: HttpRequest, user: User, **kwargs: Any) -> None:
    address = client_address(request.META)
    kind = throttling.CredentialKind.PASSWORD
    if throttling.record_refusal(kind, address, user.username):
        _record_failed_login(user, address, "second factor")


def _record_failed_login(user: User | None, address: str, credential: str) -> None:
    # An unknown name may be a password that was typed into the wrong field.
    name = name_in_audit(user) if user else "unknown"
    changes = {"address": (None, address)}
    if credential != "password":
        changes["credential"] = (None, credential)
    with audit.acting_as(SOMEBODY):
        tenant_id = user.tenant_id if user else None
        audit.record(tenant_id, "user.login_failed", [name], changes)


@receiver(account.user_logged_in)
def _record_login(request: HttpRequest, user: User, **kwargs: Any) -> None:
    _record(user, "user.login", {"address": (None, client_address(request.META))})


@receiver(user_logged_out)
def _record_logout(user: User | None, **kwargs: Any) -> None:
    if user is not None:
        _record(user, "user.logout")


@receiver(PASSWORD_SIGNALS)
def _record_password(user: User, **kwargs: Any) -> None:
    _record(user, "user.change", {"password": (REDACTED, REDACTED)})


@receiver(account.email_changed)
def _record_email(
    user: User, from_email_address: Any, to_email_address: Any, **kwargs: Any
) -> None:
    before = from_email_address.email if from_email_address else None
    _record(user, "user.change", {"email": (before, to_email_address.email)})


@receiver(mfa.authenticator_added)
def _record_new_factor(user: User, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(user, "user.mfa_add", {"kind": (None, authenticator.type)})


@receiver(mfa.authenticator_reset)
def _record_reset_factor(
    user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    _record(user, "user.mfa_add", {"kind": (authenticator.type, authenticator.type)})


@receiver(mfa.authenticator_removed)
def _record_removed_factor(
    user: User, authenticator: Authenticator, **kwargs: Any
) -> None:
    _record(user, "user.mfa_remove", {"kind": (authenticator.type, None)})


@receiver(single_sign_on.social_account_added)
def _record_identity(sociallogin: Any, **kwargs: Any) -> None:
    changes = {"single_sign_on": (None, sociallogin.account.provider)}
    _record(sociallogin.user, "user.change", changes)


class SessionsAdapter(DefaultUserSessionsAdapter):  # type: ignore[misc]  # the package has no types
    def end_sessions(self, sessions: Sequence[UserSession]) -> None:
        super().end_sessions(sessions)
        if sessions:
            changes = {"sessions": (len(sessions), 0)}
            _record(sessions[0].user, "user.end_sessions", changes)


def _record(user: User, action: str, changes: audit.Changes | None = None) -> None:
    with audit.acting_as(Actor(user.username, Via.CONSOLE)):
        audit.record(user.tenant_id, action, [name_in_audit(user)], changes)
