"""The page `/cron/`, which needs no login."""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import throttling
from accounts.access.login import client_address
from console.cron.explanation import explain
from scheduler_service.db import clock
from tasks_api.domain.cron_text import MAX_TEXT_LENGTH, zone_names

FIRST_SHOWN = "0 9 * * MON-FRI"


class Example(NamedTuple):
    expression: str
    why: str
    zone: str = "UTC"

    @property
    def query(self) -> str:
        return urlencode({"expression": self.expression, "zone": self.zone})


EXAMPLES = (
    Example("*/15 * * * *", "every quarter of an hour"),
    Example("0 9 * * MON-FRI", "on working days at nine", "Europe/Berlin"),
    Example("30 2 * * *", "a time that clocks skip once a year", "Europe/Berlin"),
    Example("0 * * * *", "every hour, also in the hour that comes twice", "America/New_York"),
    Example("0 0 L * *", "at the end of each month"),
    Example("0 8 * * MON#1", "on the first Monday of each month"),
    Example("0 0 1 * MON", "on the first, and on every Monday"),
    Example("*/10 * * * * *", "every ten seconds: six fields"),
    Example("0 0 0 1 1 * 2030", "once, in the year 2030: seven fields"),
    Example("@every 90m", "an interval, whatever the clock shows"),
    Example("cron(0 18 ? * MON-FRI *)", "as EventBridge writes it"),
)  # fmt: skip


@require_safe
def cron_page(request: HttpRequest) -> HttpResponse:
    wait = throttling.record_visit(client_address(request.META))
    if wait is not None:
        answer = render(
            request, "console/cron/too_many.html", {"wait": wait}, status=429
        )
        answer["Retry-After"] = str(ceil(wait))
        return answer
    is_live = "HX-Request" in request.headers
    template = "console/cron/_answer.html" if is_live else "console/cron/page.html"
    return render(request, template, _context(request))


def _context(request: HttpRequest) -> dict[str, Any]:
    expression = request.GET.get("expression", FIRST_SHOWN)
    zone = request.GET.get("zone", "").strip() or "UTC"
    asked = {"cron": expression, "timezone": zone}
    return {
        "expression": expression,
        "zone": zone,
        "max_length": MAX_TEXT_LENGTH,
        "zones": sorted(zone_names()),
        "examples": EXAMPLES,
        "found": explain(expression, zone, now=clock.now()),
        "new_task": f"/app/tasks/new/?{urlencode(asked)}",
    }
