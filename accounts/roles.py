"""The roles of users in a tenant, and which people of an identity provider have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import TextChoices


class Role(TextChoices):
    # Reads what the tenant has, and changes nothing.
    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Membership(NamedTuple):
    """What the people of a domain are: users of a tenant, with a role."""

    tenant: str
    role: Role


def parse_domains(entries: Iterable[str]) -> dict[str, Membership]:
    """OIDC_DOMAINS by domain: `example.org=acme:member`. Raises ValueError."""
    found = {}
    for entry in filter(None, map(str.strip, entries)):
        domain, _, membership = entry.partition("=")
        tenant, _, role = membership.rpartition(":")
        if not (domain and tenant) or role not in Role.values:
            roles = ", ".join(Role.values)
            raise ValueError(
                f"{entry!r} is not domain=tenant:role, with one of the roles {roles}"
            )
        found[domain.strip().lower()] = Membership(tenant.strip(), Role(role))
    return found
