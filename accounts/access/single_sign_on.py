"""Let people in whom the identity provider of their organization knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import render

from accounts import audit
from accounts.audit import Actor
from accounts.models import Tenant, User, Via
from accounts.roles import parse_domains
from accounts.services import find_or_add_by_email

IDENTITY_PROVIDER = Actor("identity provider", Via.CONSOLE)


class IdentityProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # the package has no types
    """The domain of a verified e-mail address says the tenant and the role."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find or add the user of an identity that logs in for the first time."""
        # Nobody connects an identity to the account of the session: the request for it
        # could come from another site.
        is_login = sociallogin.state.get("process") == AuthProcess.LOGIN
        if is_login and sociallogin.is_existing:
            return
        user = _find_user(sociallogin.email_addresses) if is_login else None
        if user is None:
            refusal = render(request, "console/not_invited.html", status=403)
            raise ImmediateHttpResponse(refusal)
        sociallogin.connect(request, user)


def _find_user(addresses: Iterable[Any]) -> User | None:
    domains = parse_domains(settings.OIDC_DOMAINS)
    for email in (each.email for each in addresses if each.verified):
        membership = domains.get(email.rpartition("@")[2].lower())
        tenant = membership and Tenant.objects.filter(name=membership.tenant).first()
        if membership and tenant:
            with audit.acting_as(IDENTITY_PROVIDER):
                return find_or_add_by_email(tenant, email, role=membership.role)
    return None
