"""The views of a tenant's signing secrets: list and rotate them."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from accounts import encryption
from accounts import services as accounts
from accounts.models import SigningSecret
from scheduler_service.db import clock
from tasks_api.api.access import openapi as schema
from tasks_api.api.access.base import UNCACHED, read_overlap
from tasks_api.api.errors import FormatView
from tasks_api.domain.timestamps import format_optional_timestamp


class SigningSecretList(FormatView):
    for_tenant_admins: ClassVar = True

    @schema.list_signing_secrets
    def get(self, request: Request) -> Response:
        live = self.tenant.signing_secrets.live(clock.now())
        newest_first = live.order_by("-created_at", "-pk")
        return Response({"secrets": [render_secret(each) for each in newest_first]})


class RotateSigningSecret(FormatView):
    for_tenant_admins: ClassVar = True

    @schema.rotate_signing_secret
    def post(self, request: Request) -> Response:
        overlap = read_overlap(request)
        secret = accounts.rotate_signing_secret(
            self.tenant, now=clock.now(), overlap=overlap
        )
        body = {"id": accounts.fingerprint(secret), "secret": secret}
        return Response(body, status=201, headers=UNCACHED)


def render_secret(secret: SigningSecret) -> dict[str, Any]:
    return {
        "id": accounts.fingerprint(secret.secret),
        "created_at": format_optional_timestamp(secret.created_at),
        "expires_at": format_optional_timestamp(secret.expires_at),
        "is_readable": not encryption.is_sealed(secret.secret),
    }
