"""The views of tokens: list, issue, rotate and revoke them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services as accounts
from accounts.access.permissions import scope_of
from accounts.models import Scope, Token, User
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.access import openapi as schema
from tasks_api.api.access.base import (
    UNCACHED,
    caller_token_expiry,
    read_choice,
    read_overlap,
    read_row_id,
    require_scope,
)
from tasks_api.api.access.bounds_fields import read_bounds
from tasks_api.api.errors import FormatView
from tasks_api.api.pagination import page_of
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_optional_timestamp

MAX_LABEL_LENGTH = 100
MAX_LIFETIME_SECONDS = 100 * 365 * 24 * 3600


class TokenList(FormatView):
    bounded_methods: ClassVar = ("POST",)

    @schema.list_tokens
    def get(self, request: Request) -> Response:
        tokens = self._selected_tokens(fields.query_parameters(request))
        page = page_of(request, tokens, key="pk", read_cursor=read_row_id)
        return page.response("tokens", render_token)

    def _selected_tokens(self, query: Mapping[str, str]) -> QuerySet[Token]:
        if "owner" not in query:
            return self.user.tokens.select_related("user", "bounds")
        owner = fields.id_parameter(query, "owner")
        if not self.user.manages_tenant:
            raise PermissionDenied(
                "The tokens of others take an administrator's token of scope admin"
            )
        tokens = Token.objects.visible_to(self.user).select_related("user", "bounds")
        return tokens if owner == "all" else tokens.filter(user__name=owner)

    @schema.issue_token
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        owner = self._read_owner(data)
        scope = read_choice(data, "scope", Scope, default=scope_of(request))
        require_scope(request, scope)
        bounds = read_bounds(data)
        return _issue_token(
            owner,
            name=_read_label(data),
            scope=scope,
            expires_at=_read_expiry(request, data, clock.now()),
            bounds=bounds,
            issuer=self.user.bounds,
        )

    def _read_owner(self, data: Mapping[str, Any]) -> User:
        name = data.get("user")
        if name is None or name == self.user.name:
            return self.user
        if not self.user.manages_tenant or self.user.bounds is not None:
            raise PermissionDenied(
                "A token for somebody else takes an administrator's token of scope admin"
            )
        users = User.objects.filter(tenant=self.tenant, is_active=True)
        owner = users.filter(name=fields.client_name("user", name)).first()
        if owner is None:
            raise InvalidTask("user", "Invalid value of user. There is no such user")
        return owner


class TokenView(FormatView):
    """A view of one token. The caller's token must cover its scope to change it."""

    def find(self, request: Request, token_id: str) -> Token:
        try:
            uuid = UUID(token_id)
        except ValueError:
            raise NotFound("Token not found") from None
        reached = Token.objects.visible_to(self.user).select_related("user", "bounds")
        if self.user.bounds is not None:
            # A token with bounds reaches no other token.
            reached = reached.filter(pk=request.auth.pk)
        token = reached.filter(uuid=uuid).first()
        if token is None:
            raise NotFound("Token not found")
        if request.method not in ("GET", "HEAD"):
            require_scope(request, Scope(token.scope))
        return token


class TokenDetail(TokenView):
    @schema.get_token
    def get(self, request: Request, token_id: str) -> Response:
        return Response(render_token(self.find(request, token_id)))

    @schema.revoke_token
    def delete(self, request: Request, token_id: str) -> Response:
        token = self.find(request, token_id)
        accounts.revoke_tokens(Token.objects.filter(pk=token.pk), now=clock.now())
        return Response({"message": "Token has been revoked successfully"})


class RotateToken(TokenView):
    @schema.rotate_token
    def post(self, request: Request, token_id: str) -> Response:
        token, overlap = self.find(request, token_id), read_overlap(request)
        return _rotate_token(token, overlap, caller_token_expiry(request))


class RenewToken(TokenView):
    bounded_methods: ClassVar = ("POST",)

    @schema.renew_token
    def post(self, request: Request, token_id: str) -> Response:
        token = self.find(request, token_id)
        token.bounds = accounts.renew_bounds(token, now=clock.now())
        return Response(render_token(token))


def _issue_token(owner: User, **values: Any) -> Response:
    try:
        token, clear_text = accounts.create_token(owner, **values)
    except accounts.AccountError as error:
        raise InvalidTask("user", f"Invalid value of user. {error}") from None
    return _new_token_response(token, clear_text, location=f"/tokens/{token.uuid}")


def _rotate_token(
    token: Token, overlap: timedelta, latest: datetime | None
) -> Response:
    try:
        new, clear_text = accounts.rotate_token(
            token, now=clock.now(), overlap=overlap, latest=latest
        )
    except accounts.AccountError as error:
        raise InvalidTask("token", str(error)) from None
    return _new_token_response(new, clear_text)


def _new_token_response(
    token: Token, clear_text: str, *, location: str = ""
) -> Response:
    body = {**render_token(token), "token": clear_text}
    headers = {"Location": location} if location else {}
    return Response(body, status=201, headers=headers | UNCACHED)


# Requests.


def _read_label(data: Mapping[str, Any]) -> str:
    value = data.get("name", "")
    if (
        isinstance(value, str)
        and len(value) <= MAX_LABEL_LENGTH
        and value.isprintable()
    ):
        return value
    raise InvalidTask(
        "name",
        "Invalid value of name. Value should be a string of at most "
        f"{MAX_LABEL_LENGTH} printable characters",
    )


def _read_expiry(
    request: Request, data: Mapping[str, Any], now: datetime
) -> datetime | None:
    """When a new token expires: no later than the token of the request."""
    latest = caller_token_expiry(request)
    if (value := data.get("expires_in")) is None:
        return latest
    seconds = fields.whole_number("expires_in", value, minimum=1)
    end = now + timedelta(seconds=min(seconds, MAX_LIFETIME_SECONDS))
    return min(end, latest) if latest else end


# Responses.


def render_token(token: Token) -> dict[str, Any]:
    """What a token is; its bounds are shown if it has some."""
    shown: dict[str, Any] = {
        "id": str(token.uuid),
        "user": token.user.name,
        "name": token.name,
        "prefix": token.prefix,
        "scope": token.scope,
        "created_at": format_optional_timestamp(token.created_at),
        "expires_at": format_optional_timestamp(token.expires_at),
        "revoked_at": format_optional_timestamp(token.revoked_at),
        "last_used_at": format_optional_timestamp(token.last_used_at),
    }
    if token.bounds is not None:
        shown["bounds"] = accounts.show_bounds(token.bounds)
        if token.bounds.ends_at is not None:
            shown["renew_by"] = format_optional_timestamp(token.bounds.ends_at)
    return shown
