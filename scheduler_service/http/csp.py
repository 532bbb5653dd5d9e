"""Middleware that sets the Content-Security-Policy: our pages load only our own files."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

CSP_HEADER = "Content-Security-Policy"
# For responses that are no pages, and load nothing.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# A script in django-celery-beat's form of a periodic task, which explains a crontab.
PERIODIC_TASK_SCRIPT_HASH = "sha256-QE3U2xYF7B4J2ro1/9oxiKhaWCGW39gB7ocQ/xlD0bE="
# Swagger UI and the admin need inline styles.
PAGE_POLICY = (
    f"default-src 'none'; script-src 'self' '{PERIODIC_TASK_SCRIPT_HASH}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

# Our own pages need nothing inline. An authenticator app scans a picture in a data URL.
STRICT_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

# The docs as a site: its theme has inline scripts and styles; its search is a worker.
GUIDE_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class ContentSecurityPolicy:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        response.headers.setdefault(CSP_HEADER, PAGE_POLICY if is_page else DATA_POLICY)
        return response
