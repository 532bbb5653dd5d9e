"""Readers that the views of access share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request

from accounts import services as accounts
from accounts.access.permissions import scope_of
from accounts.models import Role, Scope, Token
from tasks_api.api import fields, pagination
from tasks_api.domain.exceptions import InvalidTask

MAX_ROW_ID = 2**63 - 1
# Responses with a secret, which no cache may keep.
UNCACHED = {"Cache-Control": "no-store"}

Choice = TypeVar("Choice", Role, Scope)


class NameConflict(APIException):
    """The name of a new thing is taken."""

    status_code = 409


# Requests.


def read_choice(
    data: Mapping[str, Any], name: str, choices: type[Choice], *, default: Any
) -> Any:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value in choices.values:
        return choices(value)
    values = ", ".join(choices.values)
    raise InvalidTask(name, f"Invalid value of {name}. Value should be one of {values}")


def read_overlap(request: Request) -> timedelta:
    """How long the old one stays valid: a day unless the body says otherwise."""
    if request.stream is None:
        return accounts.DEFAULT_OVERLAP
    value = fields.require_object(request.data).get("overlap_seconds")
    if value is None:
        return accounts.DEFAULT_OVERLAP
    seconds = fields.whole_number("overlap_seconds", value, minimum=0)
    maximum = int(accounts.MAX_OVERLAP.total_seconds())
    if seconds > maximum:
        raise InvalidTask(
            "overlap_seconds",
            f"Invalid value of overlap_seconds. Value should be at most {maximum}",
        )
    return timedelta(seconds=seconds)


def caller_token_expiry(request: Request) -> datetime | None:
    """When the token of the request expires, if it is a token and ever does."""
    token = request.auth
    return token.expires_at if isinstance(token, Token) else None


def require_scope(request: Request, scope: Scope) -> None:
    """A token neither makes, renews nor revokes one that may do more than itself."""
    own = scope_of(request)
    if not own.covers(scope):
        raise PermissionDenied(
            f"This takes a token of scope {scope}, and yours is {own}"
        )


# Pages.


def read_row_id(cursor: str) -> int:
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= 19:
        return min(int(cursor), MAX_ROW_ID)
    raise pagination.invalid_cursor()
