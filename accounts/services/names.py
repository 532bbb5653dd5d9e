"""Check the names of tenants, users and tokens."""

from __future__ import annotations

from typing import Any

from accounts.models import Tenant, Token, User
from accounts.services.errors import AccountError


def check_name(model: type[Tenant | User], name: str) -> str:
    kind, longest = model._meta.verbose_name, max_length(model, "name")
    if not name or name != name.strip() or not name.isprintable():
        raise AccountError(f"{name!r} cannot be the name of a {kind}.")
    if len(name) > longest:
        raise AccountError(f"The name of a {kind} has at most {longest} characters.")
    return name


def max_length(model: type[Tenant | User | Token], column: str) -> int:
    field: Any = model._meta.get_field(column)
    return int(field.max_length)
