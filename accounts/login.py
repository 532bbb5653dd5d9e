"""Logging in by password, which the admin alone does: slowed down, and told of."""

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

from accounts import audit, doors
from accounts.audit import Actor
from accounts.models import User, Via
from accounts.services import audited_name

# Whoever has an IPv6 address has all of its network.
NETWORK = 64
SOMEBODY = Actor("somebody", Via.ADMIN)


def address_of(meta: Mapping[str, Any]) -> str:
    """Where a request comes from, as far as proxies that we trust have seen it."""
    address = str(meta.get("REMOTE_ADDR", ""))
    seen = str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    if 0 < settings.TRUSTED_PROXIES <= len(seen):
        # The last is what the proxy next to us has seen, and so on.
        address = seen[-settings.TRUSTED_PROXIES].strip() or address
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(found), NETWORK), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


class LoginForm(AdminAuthenticationForm):
    """The admin's, which looks at no more passwords than `doors` let it."""

    def clean(self) -> dict[str, Any]:
        account = str(self.cleaned_data.get("username", ""))
        address = address_of(self.request.META if self.request else {})
        try:
            with doors.password(address, account):
                return super().clean()
        except doors.TooManyAttempts as refusal:
            raise ValidationError(str(refusal), code="throttled") from None


@receiver(user_login_failed)
def _note_failure(
    credentials: Mapping[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """One line in the log and in the audit log, of as many as are told of."""
    name = str(credentials.get("username", ""))
    address = address_of(request.META if request else {})
    user = User.objects.filter(username=name).first() if "\0" not in name else None
    if doors.password_failed(address, name, is_known=user is not None):
        with audit.acting(SOMEBODY):
            audit.record(
                user.tenant_id if user else None,
                "user.login_failed",
                # What is no name may be a password in the wrong field.
                [audited_name(user) if user else "unknown"],
                {"address": (None, address)},
            )
