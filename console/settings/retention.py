"""How long the history of a tenant is kept, and what is deleted when."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.pages import MemberRequest, for_members
from scheduler_service.db import clock


@for_members
@require_safe
def retention(request: MemberRequest) -> HttpResponse:
    own = request.tenant.retention_days
    days = own or settings.SCHEDULER_RETENTION_DAYS
    context = {
        "tenant": request.tenant,
        "days": days,
        "is_own": own is not None,
        "kept_since": clock.now() - timedelta(days=days),
        "audit_days": settings.SCHEDULER_AUDIT_RETENTION_DAYS,
    }
    return render(request, "console/settings/retention.html", context)
