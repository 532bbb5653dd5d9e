"""The views of lanes: administrators change, pause and resume them, all users read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.errors import FormatView
from tasks_api.api.lanes import openapi as schema
from tasks_api.api.lanes.lane_fields import (
    read_changes,
    read_hold,
    read_new_lane,
    render_lane,
)
from tasks_api.api.pagination import invalid_cursor, page_of
from tasks_api.messaging import broker
from tasks_api.models import Lane
from tasks_api.services import lanes

# The ids of rows have 64 bits.
MAX_CURSOR_DIGITS = 19


class LanesView(FormatView):
    """A view whose methods of scope admin also take the role."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in self.scopes and not self.user.reaches_tenant:
            raise PermissionDenied("This is for the administrators of a tenant")

    def respond(self, lane: Lane, **more: Any) -> Response:
        """The lane with its state, after workers were told to look at it."""
        if self.request.method != "GET":
            transaction.on_commit(broker.ring)
        [shown] = self.render([lane])
        return Response(shown, **more)

    def render(self, found: Sequence[Lane]) -> list[dict[str, Any]]:
        runs, now = lanes.count_runs(found), clock.now()
        return [render_lane(lane, runs[lane.pk], now) for lane in found]


class LaneList(LanesView):
    scopes: ClassVar = {"POST": Scope.ADMIN}

    @schema.list_lanes
    def get(self, request: Request) -> Response:
        found = lanes.list_lanes(self.tenant)
        page = page_of(request, found, key="pk", read_cursor=_read_cursor)
        shown = dict(zip(page.rows, self.render(page.rows), strict=True))
        return page.response("lanes", shown.__getitem__)

    @schema.create_lane
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        made = lanes.create_lane(self.user, read_new_lane(data))
        headers = {"Location": f"/lanes/{made.name}/"}
        return self.respond(made, status=201, headers=headers)


class LaneDetail(LanesView):
    scopes: ClassVar = {"PATCH": Scope.ADMIN, "DELETE": Scope.ADMIN}

    @schema.get_lane
    def get(self, request: Request, lane: str) -> Response:
        return self.respond(lanes.get_lane(self.tenant, lane))

    @schema.change_lane
    def patch(self, request: Request, lane: str) -> Response:
        data = fields.require_object(request.data)
        return self.respond(lanes.change_lane(self.user, lane, read_changes(data)))

    @schema.remove_lane
    def delete(self, request: Request, lane: str) -> Response:
        lanes.remove_lane(self.user, lane)
        return Response({"message": "Lane has been removed successfully"})


class PauseLane(LanesView):
    for_tenant_admins: ClassVar = True

    @schema.pause_lane
    def post(self, request: Request, lane: str) -> Response:
        now = clock.now()
        hold = read_hold(fields.require_object(request.data), now)
        return self.respond(lanes.pause_lane(self.user, lane, hold, now=now))


class ResumeLane(LanesView):
    for_tenant_admins: ClassVar = True

    @schema.resume_lane
    def post(self, request: Request, lane: str) -> Response:
        return self.respond(lanes.resume_lane(self.user, lane))


def _read_cursor(cursor: str) -> int:
    if cursor.isascii() and cursor.isdigit() and len(cursor) < MAX_CURSOR_DIGITS:
        return int(cursor)
    raise invalid_cursor()
