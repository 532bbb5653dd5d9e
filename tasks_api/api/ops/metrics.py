"""The endpoint for the metrics of the whole service."""

from __future__ import annotations

from math import ceil

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from accounts import throttling
from accounts.access.login import client_address
from accounts.throttling import CredentialKind
from tasks_api.monitoring import collector, exporter

LOOPBACK = {"127.0.0.1", "::1"}


def metrics(request: HttpRequest) -> HttpResponse:
    """Show queues and live processes, from PostgreSQL and Redis; no tenant's data."""
    if not _may_read(request):
        address = client_address(request.META)
        given = request.headers.get("Authorization")
        if given and (
            wait := throttling.record_wrong_credential(CredentialKind.TOKEN, address)
        ):
            return HttpResponse(status=429, headers={"Retry-After": str(ceil(wait))})
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(collector.exposition(), content_type=exporter.CONTENT_TYPE)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        return exporter.is_allowed(request.headers.get("Authorization", ""))
    # In production, loopback may be a proxy that forwards requests from anywhere.
    return settings.DEVELOPMENT and request.META.get("REMOTE_ADDR") in LOOPBACK
