"""Tokens, users, signing secrets and the audit log: what a tenant manages of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework.exceptions import APIException, NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit, encryption
from accounts import services as accounts
from accounts.models import Role, Scope, SigningSecret, Token, User
from accounts.permissions import scope_of
from scheduler_service.db import clock
from tasks_api.api import fields, pagination
from tasks_api.api.access import openapi as schema
from tasks_api.api.errors import SurfaceView
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.services import owners

PAGE, MOST = 100, 1000
# What a token may be called, and how long it may be said to live.
LONGEST_LABEL = 100
LONGEST_LIFE = 100 * 365 * 24 * 3600
LARGEST_ID = 2**63 - 1

Row = TypeVar("Row", bound=Model)
Choice = TypeVar("Choice", Role, Scope)


class Conflict(APIException):
    """What is to be made is there already."""

    status_code = 409


class TokenList(SurfaceView):
    @schema.list_tokens
    def get(self, request: Request) -> Response:
        query = fields.query_of(request)
        tokens: QuerySet[Token] = self.user.tokens.select_related("user")
        if "owner" in query:
            tokens = self._of_others(fields.parameter(query, "owner"))
        page = _page(request, tokens, key="pk", read=_row_number)
        return page.answer("tokens", [render_token(token) for token in page.rows])

    def _of_others(self, owner: str) -> QuerySet[Token]:
        if not self.user.reaches_tenant:
            raise PermissionDenied(
                "The tokens of others take an administrator's token of scope admin"
            )
        tokens = Token.objects.reached_by(self.user).select_related("user")
        return tokens if owner == "all" else tokens.filter(user__name=owner)

    @schema.issue_token
    def post(self, request: Request) -> Response:
        now = clock.now()
        data = fields.body_of(request.data)
        owner = self._owner(data)
        scope = _choice(data, "scope", Scope, default=scope_of(request))
        _check_cover(request, scope)
        ends = _expiry(request, data, now)
        try:
            token, clear_text = accounts.new_token(
                owner, name=_label(data), scope=scope, expires_at=ends
            )
        except accounts.AccountError as refusal:
            raise InvalidTask("user", f"Invalid value of user. {refusal}") from None
        body = {**render_token(token), "token": clear_text}
        location = {"Location": f"/tokens/{token.uuid}"}
        return Response(body, status=201, headers=location | UNCACHED)

    def _owner(self, data: Mapping[str, Any]) -> User:
        name = data.get("user")
        if name is None or name == self.user.name:
            return self.user
        if not self.user.reaches_tenant:
            raise PermissionDenied(
                "A token for somebody else takes an administrator's token of scope admin"
            )
        users = User.objects.filter(tenant=self.tenant, is_active=True)
        owner = users.filter(name=fields.client_name("user", name)).first()
        if owner is None:
            raise InvalidTask("user", "Invalid value of user. There is no such user")
        return owner


class TokenView(SurfaceView):
    """A view of one token, which the caller must be able to do all that it can."""

    def find(self, request: Request, token_id: str) -> Token:
        try:
            wanted = UUID(token_id)
        except ValueError:
            raise NotFound("Token not found") from None
        reached = Token.objects.reached_by(self.user).select_related("user")
        token = reached.filter(uuid=wanted).first()
        if token is None:
            raise NotFound("Token not found")
        if request.method not in ("GET", "HEAD"):
            _check_cover(request, Scope(token.scope))
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
        now = clock.now()
        token, overlap = self.find(request, token_id), _overlap(request)
        try:
            new, clear_text = accounts.rotate_token(
                token, now=now, overlap=overlap, latest=_latest(request)
            )
        except accounts.AccountError as refusal:
            raise InvalidTask("token", str(refusal)) from None
        body = {**render_token(new), "token": clear_text}
        return Response(body, status=201, headers=UNCACHED)


class UserList(SurfaceView):
    for_tenant_admins: ClassVar = True

    @schema.list_users
    def get(self, request: Request) -> Response:
        users = User.objects.filter(tenant=self.tenant)
        page = _page(request, users, key="pk", read=_row_number)
        return page.answer("users", [render_user(user) for user in page.rows])

    @schema.add_user
    def post(self, request: Request) -> Response:
        data = fields.body_of(request.data)
        name = fields.client_name("name", fields.required(data, "name"))
        role = _choice(data, "role", Role, default=Role.MEMBER)
        try:
            user = accounts.add_user(self.tenant, name, role=role)
        except accounts.UserExists as refusal:
            raise Conflict(str(refusal)) from None
        except accounts.AccountError as refusal:
            raise InvalidTask("name", f"Invalid value of name. {refusal}") from None
        return Response(render_user(user), status=201)


class UserView(SurfaceView):
    for_tenant_admins: ClassVar = True

    def find(self, name: str) -> User:
        if "\0" not in name:
            user = User.objects.filter(tenant=self.tenant, name=name).first()
            if user is not None:
                return user
        raise NotFound("User not found")


class UserDetail(UserView):
    @schema.get_user
    def get(self, request: Request, name: str) -> Response:
        return Response(render_user(self.find(name)))

    @schema.change_user
    def patch(self, request: Request, name: str) -> Response:
        data = fields.body_of(request.data)
        user = self.find(name)
        role = _choice(data, "role", Role, default=None)
        is_active = data.get("is_active")
        if not isinstance(is_active, bool | None):
            raise InvalidTask(
                "is_active",
                "Invalid value of is_active. Value should be true or false",
            )
        if user == self.user and (role == Role.MEMBER or is_active is False):
            raise InvalidTask("name", "Nobody may lock out themselves; ask another one")
        if is_active is False and (user.is_staff or user.is_superuser):
            raise PermissionDenied("The staff of the service lock out their own")
        changed = accounts.change_user(user, role=role, is_active=is_active)
        return Response(render_user(changed))


class TransferTasks(UserView):
    @schema.transfer_tasks
    def post(self, request: Request, name: str) -> Response:
        source, target = self.find(name), self._target(fields.body_of(request.data))
        try:
            count = owners.transfer_tasks(source, target)
        except accounts.AccountError as refusal:
            raise InvalidTask("to", f"Invalid value of to. {refusal}") from None
        message = "Tasks have been handed over successfully"
        return Response({"message": message, "count": count})

    def _target(self, data: Mapping[str, Any]) -> User:
        try:
            return self.find(fields.client_name("to", fields.required(data, "to")))
        except NotFound:
            raise InvalidTask(
                "to", "Invalid value of to. There is no such user"
            ) from None


class SigningSecretList(SurfaceView):
    for_tenant_admins: ClassVar = True

    @schema.list_signing_secrets
    def get(self, request: Request) -> Response:
        live = self.tenant.signing_secrets.live(clock.now())
        newest_first = live.order_by("-created_at", "-pk")
        return Response({"secrets": [render_secret(each) for each in newest_first]})


class RotateSigningSecret(SurfaceView):
    for_tenant_admins: ClassVar = True

    @schema.rotate_signing_secret
    def post(self, request: Request) -> Response:
        now = clock.now()
        secret = accounts.rotate_signing_secret(
            self.tenant, now=now, overlap=_overlap(request)
        )
        body = {"id": accounts.fingerprint(secret), "secret": secret}
        return Response(body, status=201, headers=UNCACHED)


class AuditLog(SurfaceView):
    for_tenant_admins: ClassVar = True

    @schema.list_audit
    def get(self, request: Request) -> Response:
        query = fields.query_of(request)
        found = audit.entries(
            self.tenant.pk,
            actor=_optional(query, "actor"),
            action=_optional(query, "action"),
            object_id=_optional(query, "object"),
            since=fields.optional_moment(query, "from"),
            until=fields.optional_moment(query, "to"),
        )
        page = _page(request, found, key="id", read=_uuid)
        return page.answer("entries", [audit.told(entry) for entry in page.rows])


# What must not be kept by some cache on the way.
UNCACHED = {"Cache-Control": "no-store"}


# What comes in.


def _check_cover(request: Request, scope: Scope) -> None:
    """No token makes, renews or ends one that may do more than itself."""
    own = scope_of(request)
    if not own.covers(scope):
        raise PermissionDenied(
            f"This takes a token of scope {scope}, and yours is {own}"
        )


def _choice(
    data: Mapping[str, Any], name: str, choices: type[Choice], *, default: Any
) -> Any:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value in choices.values:
        return choices(value)
    words = ", ".join(choices.values)
    raise InvalidTask(name, f"Invalid value of {name}. Value should be one of {words}")


def _label(data: Mapping[str, Any]) -> str:
    value = data.get("name", "")
    if isinstance(value, str) and len(value) <= LONGEST_LABEL and value.isprintable():
        return value
    raise InvalidTask(
        "name",
        "Invalid value of name. Value should be a string of at most "
        f"{LONGEST_LABEL} printable characters",
    )


def _expiry(
    request: Request, data: Mapping[str, Any], now: datetime
) -> datetime | None:
    """When a new token ends: no later than the one that it is asked for with."""
    latest = _latest(request)
    if (value := data.get("expires_in")) is None:
        return latest
    seconds = fields.whole_number("expires_in", value, least=1)
    end = now + timedelta(seconds=min(seconds, LONGEST_LIFE))
    return min(end, latest) if latest else end


def _latest(request: Request) -> datetime | None:
    """When the token ends that a request comes with."""
    token = request.auth
    return token.expires_at if isinstance(token, Token) else None


def _overlap(request: Request) -> timedelta:
    """How long the old one lives on; a day unless the body says otherwise."""
    if request.stream is None:
        return accounts.OVERLAP
    value = fields.body_of(request.data).get("overlap_seconds")
    if value is None:
        return accounts.OVERLAP
    seconds = fields.whole_number("overlap_seconds", value, least=0)
    longest = int(accounts.LONGEST_OVERLAP.total_seconds())
    if seconds > longest:
        raise InvalidTask(
            "overlap_seconds",
            f"Invalid value of overlap_seconds. Value should be at most {longest}",
        )
    return timedelta(seconds=seconds)


def _optional(query: Mapping[str, str], name: str) -> str:
    return fields.parameter(query, name) if name in query else ""


class _Page(NamedTuple):
    """Rows of a list, and the cursor and the link of those after them, if there are any."""

    rows: Sequence[Any]
    cursor: str | None = None
    link: Mapping[str, str] | None = None

    def answer(self, name: str, shown: Sequence[Mapping[str, Any]]) -> Response:
        body = {name: shown, "next_cursor": self.cursor}
        return Response(body, headers=self.link)


def _page(request: Request, rows: QuerySet[Row], *, key: str, read: Any) -> _Page:
    """The newest rows, or those after `cursor`, found by their key without counting."""
    query = fields.query_of(request)
    limit = pagination.size(query, usual=PAGE, most=MOST)
    if "cursor" in query:
        rows = rows.filter(**{f"{key}__lt": read(query["cursor"])})
    found = list(rows.order_by(f"-{key}")[: limit + 1])
    if len(found) <= limit:
        return _Page(found)
    cursor = str(found[limit - 1].pk)
    return _Page(found[:limit], cursor, pagination.link(request, cursor=cursor))


def _row_number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 19:
        return min(int(text), LARGEST_ID)
    raise _not_a_cursor()


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_a_cursor() from None


def _not_a_cursor() -> InvalidTask:
    return InvalidTask("cursor", "Invalid value of cursor. It is none of ours")


# What goes out.


def render_token(token: Token) -> dict[str, Any]:
    return {
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


def render_user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "username": user.username,
        "role": user.role,
        "is_active": user.is_active,
        "created_at": format_optional_timestamp(user.date_joined),
    }


def render_secret(secret: SigningSecret) -> dict[str, Any]:
    return {
        "id": accounts.fingerprint(secret.secret),
        "created_at": format_optional_timestamp(secret.created_at),
        "expires_at": format_optional_timestamp(secret.expires_at),
        "is_readable": not encryption.is_sealed(secret.secret),
    }
