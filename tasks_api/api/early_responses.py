"""Errors before a view is called: bodies that do not arrive, and unknown hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple
from wsgiref.types import WSGIEnvironment

from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.core.handlers.wsgi import WSGIRequest
from django.db import DatabaseError, close_old_connections
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from accounts import audit
from accounts.access.middleware import ANONYMOUS
from scheduler_service.http.bodies import RequestRefused
from tasks_api.api import errors
from tasks_api.api.errors import ErrorResponse, FormatView
from tasks_api.api.json_codec import JSONRenderer, dumps

logger = logging.getLogger(__name__)

# Load balancers may call these by any host name, such as an address.
PROBES = {"healthz", "readyz"}


class _MatchedView(NamedTuple):
    view: FormatView
    arguments: Mapping[str, Any]


def max_body_bytes(environ: WSGIEnvironment) -> int:
    """The maximum body size of a request, which some views raise.

    Callers without permission get the default, so that nobody without a token makes the
    service keep a large body.
    """
    default: int = settings.SCHEDULER_MAX_BODY_BYTES
    request = _request_without_body(environ)
    reached = _match_view(request)
    maximum: int = getattr(reached and reached.view, "max_body_bytes", default)
    if reached is None or maximum <= default:
        return default
    close_old_connections()
    return maximum if _passes_permissions(reached, request) else default


def _passes_permissions(reached: _MatchedView, request: HttpRequest) -> bool:
    view, arguments = reached
    view.setup(request, **arguments)
    with audit.acting_as(ANONYMOUS):
        try:
            view.initial(view.initialize_request(request), **arguments)
        except (APIException, Http404, PermissionDenied, DatabaseError):
            # The view raises it again when it is called.
            return False
    return True


def render_body_error(
    environ: WSGIEnvironment, refused: RequestRefused
) -> HttpResponse:
    return _render_error(
        _request_without_body(environ), refused.status, refused.message, refused
    )


class AllowedHostsMiddleware:
    """Refuses requests for unknown hosts, except health probes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost as refused:
            return _answer_probe(request) or _refuse_host(request, refused)
        return self._get_response(request)


def _answer_probe(request: HttpRequest) -> HttpResponse | None:
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return None
    return match.func(request) if match.url_name in PROBES else None


def _refuse_host(request: HttpRequest, refused: DisallowedHost) -> HttpResponse:
    given = request.META.get("HTTP_HOST", "")
    logger.info("A request for the host %.100r was refused.", given)
    return _render_error(request, 400, "Bad request", refused)


def _request_without_body(environ: WSGIEnvironment) -> WSGIRequest:
    return WSGIRequest(environ | {"wsgi.input": BytesIO()})


def _match_view(request: HttpRequest) -> _MatchedView | None:
    try:
        match = resolve(request.path_info)
    except Resolver404:
        return None
    kind = getattr(match.func, "cls", None)
    if kind is None or not issubclass(kind, FormatView):
        return None
    return _MatchedView(kind(), match.kwargs)


def _render_error(
    request: HttpRequest, status: int, message: str, cause: Exception
) -> HttpResponse:
    """An error as the wire format of the request renders it."""
    reached = _match_view(request)
    if reached is None:
        return errors.json_error(message, status)
    view = reached.view
    view.setup(request, **reached.arguments)
    response = view.render_error(ErrorResponse(status, message, cause))
    if isinstance(response, Response):
        content_type = JSONRenderer.media_type
        return HttpResponse(dumps(response.data), content_type, response.status_code)
    return response
