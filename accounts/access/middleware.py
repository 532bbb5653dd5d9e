"""Set the actor of a request for the audit log: none at first, and staff in the admin.

`authentication` tells it the callers of the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import audit
from accounts.audit import Actor
from accounts.models import Via

ANONYMOUS = Actor("nobody", Via.API)


class AuditActorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with audit.acting_as(ANONYMOUS):
            return self._get_response(request)

    def process_view(self, request: HttpRequest, *args: Any) -> None:
        match = request.resolver_match
        if match is None or match.app_name != "admin":
            return
        user = request.user
        if not isinstance(user, AnonymousUser):
            audit.set_actor(Actor(user.get_username(), Via.ADMIN))
