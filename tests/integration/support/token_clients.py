"""Clients of the API that call with a token of a certain scope."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

from accounts import services
from accounts.models import Scope, User


def client_with_token(user: User, scope: Scope = Scope.ADMIN, **more: Any) -> APIClient:
    api = APIClient(raise_request_exception=False)
    token = services.issue_token(user, scope=scope, **more)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api
