"""Issue, rotate and revoke tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import (
    Scope,
    Token,
    TokenBounds,
    User,
    digest,
    generate_token,
    stored_prefix,
)
from accounts.services.errors import AccountError, TokenUnknown
from accounts.services.names import max_length
from accounts.services.rotation import DEFAULT_OVERLAP, check_overlap
from accounts.services.token_bounds import show_bounds, store_bounds
from accounts.services.users import name_in_audit
from scheduler_service.db import clock
from tasks_api.domain.bounds import Bounds

PAGE_SIZE = 50
MAX_ID = 2**63 - 1


class TokenPage(NamedTuple):
    """Tokens with their users, the newest first; `after` is None on the last page."""

    tokens: Sequence[Token]
    after: int | None


def list_tokens(
    user: User, *, now: datetime, with_ended: bool = False, after: int | None = None
) -> TokenPage:
    """A page of the tokens that a user may see, after a cursor."""
    found = Token.objects.visible_to(user).select_related("user", "bounds")
    found = found if with_ended else found.live(now)
    if after is not None:
        found = found.filter(pk__lt=min(after, MAX_ID))
    tokens = list(found.order_by("-pk")[: PAGE_SIZE + 1])
    is_last = len(tokens) <= PAGE_SIZE
    return TokenPage(tokens[:PAGE_SIZE], None if is_last else tokens[PAGE_SIZE - 1].pk)


def list_bounded_tokens(user: User, *, now: datetime, limit: int) -> list[Token]:
    """The newest valid tokens with bounds that a user may see."""
    found = Token.objects.visible_to(user).live(now).exclude(bounds=None)
    return list(found.select_related("user", "bounds").order_by("-pk")[:limit])


def find_token(user: User, uuid: UUID) -> Token:
    """A token that a user may see. Raises TokenUnknown."""
    found = Token.objects.visible_to(user).select_related("user", "bounds")
    token = found.filter(uuid=uuid).first()
    if token is None:
        raise TokenUnknown("There is no such token.")
    return token


def issue_token(
    user: User,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    scope: Scope = Scope.ADMIN,
    bounds: Bounds | None = None,
) -> str:
    """The clear text of a new token. Only its digest is stored."""
    _, clear_text = create_token(
        user, name=name, expires_at=expires_at, scope=scope, bounds=bounds
    )
    return clear_text


@transaction.atomic
def create_token(
    user: User,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    scope: Scope = Scope.ADMIN,
    bounds: Bounds | None = None,
    issuer: TokenBounds | None = None,
) -> tuple[Token, str]:
    """A new token and its clear text, of which only the digest is stored.

    With the bounds of the token that issues it, it has the same, or its own if these are
    narrower. Raises OutOfBounds if they are not.
    """
    row = issuer if bounds is None else _store_bounds(user, bounds, issuer)
    token, clear_text = _store_token(
        user, name=name, expires_at=expires_at, scope=scope, bounds=row
    )
    changes: dict[str, tuple[Any, Any]] = {
        "user": (None, name_in_audit(user)),
        "scope": (None, scope),
    }
    if row is not None:
        changes["bounds"] = (None, dict(show_bounds(row)))
    audit.record(user.tenant_id, "token.issue", [token.uuid], changes)
    return token, clear_text


def _store_bounds(
    user: User, bounds: Bounds, issuer: TokenBounds | None
) -> TokenBounds:
    if user.tenant is None:
        raise AccountError(f"{user} is staff of no tenant, and makes no tasks.")
    return store_bounds(user.tenant, bounds, parent=issuer, now=clock.now())


def _store_token(
    user: User,
    *,
    name: str,
    expires_at: datetime | None,
    scope: str,
    bounds: TokenBounds | None = None,
) -> tuple[Token, str]:
    if not user.is_active:
        raise AccountError(f"{user} is deactivated, so a token would be of no use.")
    if len(name) > max_length(Token, "name"):
        raise AccountError("The name of the token is too long.")
    clear_text = generate_token(user.tenant_id)
    token = Token.objects.create(
        user=user,
        tenant_id=user.tenant_id,
        name=name,
        digest=digest(clear_text),
        stored_prefix=stored_prefix(clear_text, user.tenant_id),
        scope=scope,
        expires_at=expires_at,
        bounds=bounds,
    )
    return token, clear_text


@transaction.atomic
def rotate_token(
    token: Token,
    *,
    now: datetime,
    overlap: timedelta = DEFAULT_OVERLAP,
    latest: datetime | None = None,
) -> tuple[Token, str]:
    """Replace a token, which stays valid for the overlap and no longer.

    The new token has the same user, name, scope and bounds. It expires when the old one would
    have, or at `latest` if that is sooner, so that rotation never prolongs a token.
    Raises AccountError if the old token is no longer valid.
    """
    check_overlap(overlap)
    live = Token.objects.live(now).select_for_update(of=("self",))
    token = (
        live.select_related("user").filter(pk=token.pk).first() or _refuse_dead_token()
    )
    user, ends_at = token.user, now + overlap
    ends = [end for end in (token.expires_at, latest) if end is not None]
    new, clear_text = _store_token(
        user,
        name=token.name,
        expires_at=min(ends, default=None),
        scope=token.scope,
        bounds=token.bounds,
    )
    token.expires_at = min(token.expires_at or ends_at, ends_at)
    token.save(update_fields=["expires_at"])
    changes = {"user": (None, name_in_audit(user)), "new": (None, str(new.uuid))}
    audit.record(user.tenant_id, "token.rotate", [token.uuid], changes)
    return new, clear_text


def _refuse_dead_token() -> Token:
    raise AccountError("The token is revoked or has expired; issue a new one.")


def revoke_token(clear_text: str, *, now: datetime) -> bool:
    """Revoke a token, given in clear text; returns whether there is such a token."""
    tokens = Token.objects.filter(digest=digest(clear_text))
    revoke_tokens(tokens, now=now)
    return tokens.exists()


@transaction.atomic
def revoke_tokens(tokens: QuerySet[Token], *, now: datetime) -> int:
    """Revoke those that are not revoked yet; returns how many."""
    unrevoked = tokens.filter(revoked_at=None).order_by("pk")
    rows = unrevoked.select_for_update(of=("self",)).values_list(
        "pk", "uuid", "user__tenant"
    )
    by_tenant = defaultdict(list)
    revoked = []
    for pk, uuid, tenant_id in rows:
        revoked.append(pk)
        by_tenant[tenant_id].append(uuid)
    Token.objects.filter(pk__in=revoked).update(revoked_at=now)
    for tenant_id, uuids in by_tenant.items():
        audit.record(tenant_id, "token.revoke", uuids)
    return len(revoked)
