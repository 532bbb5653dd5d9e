"""Let people log in by password and second factor, and limit wrong passwords."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from smtplib import SMTPException
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import ResetPasswordForm
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.shortcuts import resolve_url

from accounts import encryption, throttling
from accounts.models import User
from accounts.services import find_by_login, has_only_identity

logger = logging.getLogger(__name__)

# A client with an IPv6 address has all addresses of this network.
IPV6_PREFIX_LENGTH = 64


def client_ip(meta: Mapping[str, Any]) -> IPv4Address | IPv6Address | None:
    """The address of the client, as far as trusted proxies have seen it."""
    address = str(meta.get("REMOTE_ADDR", ""))
    seen = str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    if 0 < settings.TRUSTED_PROXIES <= len(seen):
        # The last address is the one that the proxy next to us has seen, and so on.
        address = seen[-settings.TRUSTED_PROXIES].strip() or address
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_address(meta: Mapping[str, Any]) -> str:
    """What refusals count against: the address of the client, or its IPv6 network."""
    found = client_ip(meta)
    if isinstance(found, IPv6Address):
        return str(ipaddress.ip_network((int(found), IPV6_PREFIX_LENGTH), strict=False))
    return str(found or "unknown")


def typed_login(credentials: Mapping[str, Any]) -> str:
    return str(credentials.get("username") or credentials.get("email") or "")


class LoginBackend(ModelBackend):
    """Finds a user by username or by verified e-mail address, and hashes once."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        email: str | None = None,
        **others: Any,
    ) -> User | None:
        user = find_by_login(username or email or "")
        if user is None:
            # The answer takes as long as for a user who exists.
            User().set_password(password)
            return None
        is_right = user.check_password(password or "")
        return user if is_right and self.user_can_authenticate(user) else None


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # the package has no types
    """Nobody signs up, and no more passwords are checked than `throttling` allows."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def authenticate(
        self, request: HttpRequest, **credentials: Any
    ) -> AbstractBaseUser | None:
        typed = typed_login(credentials)
        user = find_by_login(typed)
        # A username and an address of one user are one account.
        account = user.username if user else typed
        try:
            with throttling.limit_password_checks(
                client_address(request.META), account
            ):
                return authenticate(request, **credentials)
        except throttling.TooManyAttempts as refusal:
            raise ValidationError(str(refusal), code="throttled") from None

    def send_mail(
        self, template_prefix: str, email: str, context: dict[str, Any]
    ) -> None:
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, SMTPException) as error:
            # The page says the same as for an address that nobody has.
            logger.error("A mail could not be sent: %s", error)

    def get_client_ip(self, request: HttpRequest) -> str:
        return str(client_ip(request.META) or IPv6Address(0))

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return home_of(request.user)


def home_of(user: object) -> str:
    """The first page of a user: staff without a tenant only have the admin."""
    has_tenant = isinstance(user, User) and user.tenant_id is not None
    return resolve_url(settings.LOGIN_REDIRECT_URL if has_tenant else "admin:index")


class PasswordResetForm(ResetPasswordForm):  # type: ignore[misc]  # the package has no types
    """Mails no link to users whose identity provider lets them in, and may shut them out."""

    users: list[User]

    def clean_email(self) -> str:
        email = str(super().clean_email())
        self.users = [user for user in self.users if not has_only_identity(user)]
        return email


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # the package has no types
    """Encrypts the secrets of authenticator apps as other secrets are."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text)

    def get_totp_label(self, user: AbstractBaseUser) -> str:
        return user.get_username()
