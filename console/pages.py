"""What every page has: its policy for browsers, the actor of its changes, and who may open it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
)
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import quote_etag
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from accounts import audit
from accounts.access.permissions import reaches_tenant, scope_of_role
from accounts.access.sign_in_log import SOMEBODY
from accounts.audit import Actor
from accounts.models import Role, Scope, Tenant, User, Via
from scheduler_service.http.csp import CSP_HEADER, STRICT_PAGE_POLICY
from tasks_api.domain.exceptions import (
    LaneNotFound,
    MessageNotFound,
    RunNotFound,
    TaskNotFound,
)

View = Callable[..., HttpResponseBase]
NOT_FOUND = (Http404, TaskNotFound, RunNotFound, MessageNotFound, LaneNotFound)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
READ_ONLY = "You may read what your tenant has, and no more."
MOVES = (
    "Your tenant moves to another place at this moment, and nothing of it changes "
    "meanwhile. Try again in a minute."
)
HAS_MOVED = (
    "Your tenant has moved to another place, and lives there. Ask the operator for the "
    "address of its pages."
)


class MemberRequest(HttpRequest):
    """A request of a user of a tenant."""

    user: User
    tenant: Tenant
    htmx: HtmxDetails


def page(view: View, *, is_atomic: bool = False) -> View:
    """A view of a page. With `is_atomic`, a change and its audit entry are one transaction."""
    inner = transaction.atomic(view) if is_atomic else view

    @wraps(view)
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        audit.set_actor(_actor_of(request.user))
        try:
            response = inner(request, *args, **kwargs)
        except NOT_FOUND:
            response = render(request, "console/not_found.html", status=404)
        except PermissionDenied as refusal:
            response = refuse(request, str(refusal))
        response.headers.setdefault(CSP_HEADER, STRICT_PAGE_POLICY)
        # Another person may use the browser after this one.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def _actor_of(user: object) -> Actor:
    return Actor(user.username, Via.CONSOLE) if isinstance(user, User) else SOMEBODY


def render_unless_seen(
    request: HttpRequest,
    version: str,
    template: str,
    make_context: Callable[[], dict[str, Any]],
) -> HttpResponse:
    """Render a page, or answer 304 to a poll of a page that shows this version already.

    A part of a page polls with the version that it shows in `If-None-Match`.
    """
    shown = hashlib.sha256(version.encode()).hexdigest()[:32]
    headers = {"ETag": quote_etag(shown)}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return HttpResponseNotModified(headers=headers)
    response = render(request, template, {"etag": shown, **make_context()})
    response.headers["ETag"] = headers["ETag"]
    return response


def refuse(request: HttpRequest, reason: str) -> HttpResponse:
    return render(request, "console/forbidden.html", {"reason": reason}, status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """The response to a form that another site sent, or that is too old."""
    text = "The form was too old, or came from another site. Open the page again."
    return page(lambda request: refuse(request, text))(request)


def for_members(view: View) -> View:
    """A page for the users of a tenant; those who only read may not post to it."""

    @wraps(view)
    def handle(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if not isinstance(user, User):
            return _ask_to_log_in(request)
        if user.tenant is None:
            raise PermissionDenied("You belong to no tenant; the admin is your place.")
        scope = scope_of_role(user)
        if request.method not in SAFE_METHODS and not scope.covers(Scope.WRITE):
            raise PermissionDenied(READ_ONLY)
        if user.tenant.moved_at is not None:
            raise PermissionDenied(HAS_MOVED)
        if request.method not in SAFE_METHODS and user.tenant.frozen_at is not None:
            raise PermissionDenied(MOVES)
        user.reaches_tenant = reaches_tenant(user, scope)
        request.tenant = user.tenant
        return view(request, *args, **kwargs)

    return handle


def for_writers(view: View) -> View:
    """A page for the users of a tenant who may change something."""

    @wraps(view)
    def handle(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not scope_of_role(request.user).covers(Scope.WRITE):
            raise PermissionDenied(READ_ONLY)
        return view(request, *args, **kwargs)

    return for_members(handle)


def _ask_to_log_in(request: Any) -> HttpResponseBase:
    if request.htmx:
        # It would put the login page into a part of this page.
        return HttpResponseClientRefresh()
    if request.method not in SAFE_METHODS:
        # After the login there is no form to send again.
        return redirect(settings.LOGIN_URL)
    return redirect_to_login(request.get_full_path())


def for_admins(view: View) -> View:
    """A page for the administrators of a tenant."""

    @wraps(view)
    def handle(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.role != Role.ADMIN:
            raise PermissionDenied("This is for the administrators of your tenant.")
        return view(request, *args, **kwargs)

    return for_members(handle)
