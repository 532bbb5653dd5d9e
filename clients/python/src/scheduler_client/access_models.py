"""Tokens, quotas, users, signing secrets and the audit log, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Token:
    """A token without its clear text: its user, its scope and its expiry."""

    id: str
    user: str
    name: str
    prefix: str
    scope: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    # What it can do at most; None if it has no bounds.
    bounds: Mapping[str, Any] | None = None
    renew_by: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class IssuedToken(Token):
    """A new token. `token` is its clear text, which the service shows only once."""

    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class QuotaUse:
    """A quota, and what is used of it. Without a limit there is no quota."""

    quota: str
    limit: int | None = None
    used: int | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True)
class TokenUsage:
    """The quotas of a token with bounds."""

    quotas: Sequence[QuotaUse]
    renew_by: datetime | None = None


@dataclass(frozen=True)
class Usage:
    """The quotas of a tenant, and of the calling token if it has bounds."""

    quotas: Sequence[QuotaUse]
    plan: str | None = None
    token: TokenUsage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class User:
    """A user of the tenant. `username` is the name that the audit log uses."""

    name: str
    username: str
    role: str
    is_active: bool
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class SigningSecret:
    """A live signing secret, without its clear text: `id` is its fingerprint.

    `expires_at` is None for the current secret. `is_readable` is False if the service has
    lost the key that decrypts it.
    """

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    is_readable: bool = True
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class NewSigningSecret:
    """A new signing secret. `secret` is its clear text, which the service shows only once."""

    id: str
    secret: str = field(repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class AuditEntry:
    """One entry of the audit log."""

    id: str
    at: datetime
    actor: str
    via: str
    token: str
    action: str
    objects: list[str]
    changes: Mapping[str, Any]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
