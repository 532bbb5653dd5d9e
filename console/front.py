"""`GET /` for browsers: what the service is. All other requests to `/` are for the API."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers

from accounts.access.login import home_of
from console.pages import View, page


def with_front_page(api_view: View) -> View:
    return with_page(api_view, _front_page)


def with_page(api_view: View, page_view: View) -> View:
    """The view of the API, except for requests that name text/html in `Accept`."""
    shown = page(page_view)

    # It also copies what Django and the OpenAPI document read from the view.
    @wraps(api_view)
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in ("GET", "HEAD") and names_html(request):
            response = shown(request)
            patch_vary_headers(response, ["Accept"])
            return response
        return api_view(request, *args, **kwargs)

    return handle


def names_html(request: HttpRequest) -> bool:
    """Whether the request asks for HTML by name. Clients that take anything do not."""
    named = {(each.main_type, each.sub_type) for each in request.accepted_types}
    return ("text", "html") in named


def _front_page(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect(home_of(request.user))
    api = request.build_absolute_uri("/").rstrip("/")
    return render(request, "console/front.html", {"api": api})
