"""Who is calling the API: the bearer token of a tenant's user."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import Token, User, digest

# Often enough to find tokens nobody uses, without a write for each request.
USE_NOTED_EVERY = timedelta(minutes=10)


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`, or Basic with the token as the password."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        now = timezone.now()
        token = _live_token(_credential(header), now)
        _note_use(token, now)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _credential(header: str) -> str:
    scheme, _, credential = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return credential
        case "basic":
            return _password(credential)
    raise AuthenticationFailed("The Authorization header is not a bearer token.")


def _password(credential: str) -> str:
    try:
        pair = base64.b64decode(credential, validate=True)
    except ValueError:
        raise AuthenticationFailed("The Authorization header is malformed.") from None
    # Latin-1 because it reads any bytes, and a token is ASCII in both.
    _, _, password = pair.decode("latin-1").partition(":")
    return password


def _live_token(clear_text: str, now: datetime) -> Token:
    live = Token.objects.live(now).filter(user__tenant__isnull=False)
    token = live.filter(digest=digest(clear_text)).select_related("user__tenant")
    found = token.first()
    if found is None:
        raise AuthenticationFailed("The token is not valid.")
    return found


def _note_use(token: Token, now: datetime) -> None:
    long_ago = now - USE_NOTED_EVERY
    if token.last_used_at and token.last_used_at > long_ago:
        return
    # Conditional, so that of many requests at once one writes.
    unnoted = Q(last_used_at=None) | Q(last_used_at__lte=long_ago)
    Token.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registration on subclassing has no types
    """How the OpenAPI schema describes it."""

    target_class = TokenAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        scheme: dict[str, str] = build_bearer_security_scheme_object(
            header_name="Authorization",
            token_prefix="Bearer",  # noqa: S106 (the scheme's name)
        )
        return scheme
