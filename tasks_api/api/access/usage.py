"""The view of quotas and what is used of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import TokenBounds
from scheduler_service.db import clock
from tasks_api.api.access import openapi as schema
from tasks_api.api.errors import FormatView
from tasks_api.domain.timestamps import format_optional_timestamp
from tasks_api.services import usage
from tasks_api.services.request_quotas import TENANT, TOKEN, RequestQuota
from tasks_api.services.usage import QuotaUse


class UsageView(FormatView):
    bounded_methods: ClassVar = ("GET",)

    @schema.get_usage
    def get(self, request: Request) -> Response:
        uses = usage.read_tenant_quotas(self.user, now=clock.now())
        plan = self.tenant.plan
        return Response(
            {
                "plan": plan and plan.name,
                "quotas": _render(uses, self.request_quotas, TENANT),
                "token": _render_token(self.user.bounds, self.request_quotas),
            }
        )


def _render_token(
    bounds: TokenBounds | None, requests: Sequence[RequestQuota]
) -> dict[str, Any] | None:
    if bounds is None:
        return None
    [uses] = usage.read_token_quotas([bounds]).values()
    return {
        "renew_by": format_optional_timestamp(bounds.ends_at),
        "quotas": _render(uses, requests, TOKEN),
    }


def _render(
    uses: Sequence[QuotaUse], requests: Sequence[RequestQuota], policy: str
) -> list[dict[str, Any]]:
    of_minute = next((each for each in requests if each.policy == policy), None)
    return [
        {
            "quota": use.name,
            "limit": use.limit,
            "used": use.used,
            "resets_at": format_optional_timestamp(use.resets_at),
        }
        for use in (*uses, usage.use_of_requests(of_minute))
    ]
