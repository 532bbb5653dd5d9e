"""Identify the caller of the API: by token, by shared secret, or without a credential."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model, Q
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import audit, services, statements, throttling
from accounts.access.login import client_address
from accounts.access.permissions import reaches_tenant
from accounts.audit import Actor
from accounts.models import Tenant, Token, User, Via, digest
from accounts.throttling import CredentialKind
from scheduler_service.db import clock
from scheduler_service.db.statements import first

# The models of a live token, each with all its columns, in this order.
CALLER_MODELS = (Token, User, Tenant)
LOAD_CALLER = statements.LOAD_CALLER.format(
    columns=", ".join(
        f"{model._meta.db_table}.{field.column}"
        for model in CALLER_MODELS
        for field in model._meta.concrete_fields
    )
)
# Short enough to find unused tokens, and without a write for each request.
LAST_USED_INTERVAL = timedelta(minutes=10)


class InvalidCredential(AuthenticationFailed):
    """The caller sent a credential that is not valid."""

    def __init__(self, detail: str, kind: CredentialKind) -> None:
        super().__init__(detail)
        self.kind = kind


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`, or Basic with the token as the password."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        token, now = _live_token(_credential(header))
        _record_use(token, now)
        user = token.user
        user.reaches_tenant = reaches_tenant(user, token.scope)
        if token.bounds_id is not None:
            user.bounds = token.bounds
        audit.set_actor(Actor(user.username, Via.API, token.prefix))
        return user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class AnonymousAuthentication(BaseAuthentication):
    """A caller without a token acts for SCHEDULER_ANONYMOUS_TENANT, if that is set."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        tenant = settings.SCHEDULER_ANONYMOUS_TENANT
        if not tenant or request.META.get("HTTP_AUTHORIZATION"):
            return None
        return _service_user(tenant, "anonymous"), None


class SharedSecretAuthentication(BaseAuthentication):
    """`Scheduler-Secret: <secret>`, which identifies a tenant, but no user of it."""

    def authenticate(self, request: Request) -> tuple[User, None]:
        secret = request.META.get("HTTP_SCHEDULER_SECRET", "")
        # The time to find a digest reveals nothing about a secret.
        known = Tenant.objects.filter(shared_secret_digest=digest(secret))
        tenant = known.values_list("name", flat=True).first() if secret else None
        # A short secret might be guessed, so it is refused after many wrong ones.
        is_short = len(secret) < throttling.UNGUESSABLE_LENGTH
        is_blocked = is_short and throttling.is_blocked(
            CredentialKind.SECRET, client_address(request.META)
        )
        if tenant is None or is_blocked:
            raise InvalidCredential("Unauthorized", CredentialKind.SECRET)
        return _service_user(tenant, "timers"), None

    def authenticate_header(self, request: Request) -> str:
        return "Scheduler-Secret"


def _service_user(tenant: str, name: str) -> User:
    """The user who owns what clients of a tenant without tokens store; created on demand."""
    users = User.objects.filter(tenant__name=tenant, name=name)
    user = users.select_related("tenant").first()
    user = user or services.provision_user(tenant, name)
    if not user.is_active:
        raise AuthenticationFailed("Unauthorized")
    audit.set_actor(Actor(user.username, Via.API))
    return user


def scheme_and_credential(header: str) -> tuple[str, str]:
    """The two parts of an Authorization header, separated by spaces (RFC 9110)."""
    scheme, _, credential = header.partition(" ")
    return scheme.lower(), credential.strip(" ")


def _credential(header: str) -> str:
    scheme, credential = scheme_and_credential(header)
    match scheme:
        case "bearer":
            return credential
        case "basic":
            return _password(credential)
    raise InvalidCredential(
        "The Authorization header is not a bearer token.", CredentialKind.TOKEN
    )


def _password(credential: str) -> str:
    try:
        pair = base64.b64decode(credential, validate=True)
    except ValueError:
        raise InvalidCredential(
            "The Authorization header is malformed.", CredentialKind.TOKEN
        ) from None
    # Latin-1 decodes any bytes, and a token is ASCII anyway.
    _, _, password = pair.decode("latin-1").partition(":")
    return password


def _live_token(clear_text: str) -> tuple[Token, datetime]:
    """The live token, and the moment of the database's clock that the request uses."""
    asked_at = clock.ticks()
    row = first(LOAD_CALLER, {"digest": digest(clear_text)})
    if row is None:
        raise InvalidCredential("The token is not valid.", CredentialKind.TOKEN)
    now, *columns = row
    clock.record_reading(now, asked_at=asked_at)
    values = iter(columns)
    token, user, tenant = (_build_model(model, values) for model in CALLER_MODELS)
    token.user, user.tenant = user, tenant
    return token, now


def _build_model(model: type[Model], values: Iterator[Any]) -> Any:
    fields = model._meta.concrete_fields
    return model.from_db(
        DEFAULT_DB_ALIAS, [f.attname for f in fields], list(islice(values, len(fields)))
    )


def _record_use(token: Token, now: datetime) -> None:
    threshold = now - LAST_USED_INTERVAL
    if token.last_used_at and token.last_used_at > threshold:
        return
    # The condition lets only one of many concurrent requests write.
    not_recorded = Q(last_used_at=None) | Q(last_used_at__lte=threshold)
    Token.objects.filter(not_recorded, pk=token.pk).update(last_used_at=now)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registration on subclassing has no types
    """The OpenAPI schemes of a token: as a bearer token, or as a password."""

    target_class = TokenAuthentication
    name = ["bearer", "basic"]

    def get_security_requirement(self, auto_schema: object) -> list[Any]:
        return [{"bearer": []}, {"basic": []}]

    def get_security_definition(self, auto_schema: object) -> list[Any]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": "Your token, which begins with `sch_`. This is the usual way.",
            },
            {
                "type": "http",
                "scheme": "basic",
                "description": "The same token as the password, with any user name, for "
                "clients that can only put credentials into a URL.",
            },
        ]


class AnonymousScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    """No credential, so the OpenAPI schema does not mention it."""

    target_class = AnonymousAuthentication
    name = []

    def get_security_requirement(self, auto_schema: object) -> list[Any]:
        return []

    def get_security_definition(self, auto_schema: object) -> list[Any]:
        return []


class SharedSecretScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    target_class = SharedSecretAuthentication
    name = "sharedSecret"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Scheduler-Secret",
            "description": "The shared secret of your tenant. Timers take it, and nothing else.",
        }
