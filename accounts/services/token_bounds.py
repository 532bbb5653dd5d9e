"""Store, narrow and renew the bounds of tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import Tenant, Token, TokenBounds
from tasks_api.domain.bounds import LISTS, Bounds, to_dict
from tasks_api.domain.exceptions import InvalidState, OutOfBounds

# The column of each bound, where its name is another one.
_COLUMNS = {
    "runs_per_day": "max_runs_per_day",
    "tasks": "max_tasks",
    "requests_per_minute": "max_requests_per_minute",
    "payload_bytes": "max_payload_bytes",
}
# Tokens that were issued one with another, each with narrower bounds.
MAX_LINEAGE = 8


def bounds_of(row: TokenBounds) -> Bounds:
    values: dict[str, Any] = {}
    for name in Bounds.__dataclass_fields__:
        value = getattr(row, _COLUMNS.get(name, name))
        values[name] = tuple(value) if isinstance(value, list) else value
    return Bounds(**values)


def show_bounds(row: TokenBounds) -> Mapping[str, object]:
    return to_dict(bounds_of(row))


def store_bounds(
    tenant: Tenant, wanted: Bounds, *, parent: TokenBounds | None, now: datetime
) -> TokenBounds:
    """Store bounds, narrowed from those of the token that issues another one.

    Raises OutOfBounds if they are wider anywhere.
    """
    lineage: list[int] = []
    if parent is not None:
        lineage, wanted = parent.all_ids, bounds_of(parent).narrow(wanted)
        if len(lineage) > MAX_LINEAGE:
            raise OutOfBounds("lineage", "too many tokens were issued one with another")
    columns = {
        _COLUMNS.get(name, name): getattr(wanted, name)
        for name in Bounds.__dataclass_fields__
    }
    for name in (*LISTS, "tags"):
        columns[name] = None if columns[name] is None else list(columns[name])
    ends_at = _end_after(wanted.renew_within, now)
    return TokenBounds.objects.create(
        tenant=tenant, lineage=lineage, ends_at=ends_at, **columns
    )


def _end_after(renew_within: int | None, now: datetime) -> datetime | None:
    return None if renew_within is None else now + timedelta(seconds=renew_within)


@transaction.atomic
def renew_bounds(token: Token, *, now: datetime) -> TokenBounds:
    """Let what was made with a token go on for `renew_within` from now.

    What has ended stays so. Raises InvalidState if the token has no such bound.
    """
    if token.bounds_id is None:
        raise InvalidState("The token has no bounds")
    row = TokenBounds.objects.select_for_update(no_key=True).get(pk=token.bounds_id)
    if row.renew_within is None:
        raise InvalidState("The bounds of the token need no renewal")
    row.ends_at, row.lapsed_at = _end_after(row.renew_within, now), None
    row.save(update_fields=["ends_at", "lapsed_at"])
    audit.record(row.tenant_id, "token.renew", [token.uuid])
    return row


def load_bounds(ids: Collection[int]) -> dict[int, TokenBounds]:
    """The bounds with some ids, and all those from which they were narrowed."""
    found = TokenBounds.objects.in_bulk(ids) if ids else {}
    if missing := {each for row in found.values() for each in row.lineage} - set(found):
        found |= TokenBounds.objects.in_bulk(missing)
    return found


def lock_bounds(ids: Iterable[int]) -> dict[int, TokenBounds]:
    """Lock bounds and those from which they were narrowed, until the transaction ends.

    The tasks that the caller locks as well must be locked before.
    """
    every = {each for row in load_bounds(set(ids)).values() for each in row.all_ids}
    rows = TokenBounds.objects.filter(pk__in=every).order_by("pk")
    return {row.pk: row for row in rows.select_for_update(no_key=True)}


def lapse_of(
    row: TokenBounds, all_bounds: Mapping[int, TokenBounds]
) -> datetime | None:
    """When the first of the bounds and those from which they were narrowed ends."""
    ends = [all_bounds[each].ends_at for each in row.all_ids]
    return min((end for end in ends if end is not None), default=None)
