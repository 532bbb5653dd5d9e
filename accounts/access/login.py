"""Limit and record logins by password, which only the admin offers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit, throttling
from accounts.audit import Actor
from accounts.models import User, Via
from accounts.services import name_in_audit

# A client with an IPv6 address has all addresses of this network.
IPV6_PREFIX_LENGTH = 64
UNKNOWN_ACTOR = Actor("somebody", Via.ADMIN)


def client_address(meta: Mapping[str, Any]) -> str:
    """The address of the client, as far as trusted proxies have seen it."""
    address = str(meta.get("REMOTE_ADDR", ""))
    seen = str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    if 0 < settings.TRUSTED_PROXIES <= len(seen):
        # The last address is the one that the proxy next to us has seen, and so on.
        address = seen[-settings.TRUSTED_PROXIES].strip() or address
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(found), IPV6_PREFIX_LENGTH), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


class LoginForm(AdminAuthenticationForm):
    """The admin's form, which checks no more passwords than `throttling` allows."""

    def clean(self) -> dict[str, Any]:
        account = str(self.cleaned_data.get("username", ""))
        address = client_address(self.request.META if self.request else {})
        try:
            with throttling.limit_password_checks(address, account):
                return super().clean()
        except throttling.TooManyAttempts as refusal:
            raise ValidationError(str(refusal), code="throttled") from None


@receiver(user_login_failed)
def _record_failed_login(
    credentials: Mapping[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Write a failed login to the log and to the audit log, unless there are too many."""
    name = str(credentials.get("username", ""))
    address = client_address(request.META if request else {})
    user = User.objects.filter(username=name).first() if "\0" not in name else None
    if throttling.record_wrong_password(address, name, is_known=user is not None):
        with audit.acting_as(UNKNOWN_ACTOR):
            audit.record(
                user.tenant_id if user else None,
                "user.login_failed",
                # An unknown name may be a password that was typed into the wrong field.
                [name_in_audit(user) if user else "unknown"],
                {"address": (None, address)},
            )
