"""The list of lanes, and the page of one."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from console.lanes.content import read_lane, read_list
from console.live import render_live
from console.pages import MemberRequest, for_members


@for_members
@require_safe
def lane_list(request: MemberRequest) -> HttpResponse:
    return render_live(
        request,
        "console/lanes/list.html",
        "console/lanes/_list.html",
        read_list(request),
    )


@for_members
@require_safe
def lane_detail(request: MemberRequest, lane: str) -> HttpResponse:
    return render_live(
        request,
        "console/lanes/lane.html",
        "console/lanes/_now.html",
        read_lane(request, lane),
    )
