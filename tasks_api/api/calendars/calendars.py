"""The views of calendars: list, create, change, import and remove them."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.calendars import openapi as schema
from tasks_api.api.calendars.calendar_fields import (
    read_content,
    read_days,
    read_name,
    render_calendar,
    render_day,
    render_effect,
    render_version,
)
from tasks_api.api.errors import FormatView
from tasks_api.api.pagination import page_of, read_id
from tasks_api.domain.calendar_files import read_file
from tasks_api.models import Calendar
from tasks_api.services import calendar_effects, calendars


class CalendarView(FormatView):
    """A view whose changes are for a tenant's administrators; all its users read."""

    scopes: ClassVar = {}

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        if request.method in self.scopes and not self.user.reaches_tenant:
            raise PermissionDenied("This is for the administrators of a tenant")

    def render(self, calendar: Calendar, status: int = 200) -> Response:
        version = calendars.present_version(calendar)
        count = calendars.count_tasks(calendar)
        shown = render_calendar(calendar, version, task_count=count)
        headers = {"Location": f"/calendars/{calendar.name}/"} if status == 201 else {}
        return Response(shown, status=status, headers=headers)


class CalendarList(CalendarView):
    scopes: ClassVar = {"POST": Scope.ADMIN}

    @schema.list_calendars
    def get(self, request: Request) -> Response:
        found = list(calendars.list_calendars(self.tenant).order_by("name"))
        versions = calendars.present_versions(found)
        shown = [render_calendar(each, versions[each.pk]) for each in found]
        return Response({"calendars": shown})

    @schema.create_calendar
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        name = read_name(fields.require_field(data, "name"))
        content, now = read_content(data), clock.now()
        made = calendars.create_calendar(self.user, name, content, now=now)
        return self.render(calendars.get_calendar(self.tenant, made.name), status=201)


class CalendarDetail(CalendarView):
    scopes: ClassVar = {"PUT": Scope.ADMIN, "DELETE": Scope.ADMIN}

    @schema.get_calendar
    def get(self, request: Request, name: str) -> Response:
        return self.render(calendars.get_calendar(self.tenant, name))

    @schema.change_calendar
    def put(self, request: Request, name: str) -> Response:
        content = read_content(fields.require_object(request.data))
        changed = calendars.change_calendar(self.user, name, content, now=clock.now())
        return self.render(changed)

    @schema.remove_calendar
    def delete(self, request: Request, name: str) -> Response:
        calendars.remove_calendar(self.user, name, now=clock.now())
        return Response({"message": "Calendar has been removed successfully"})


class CalendarVersions(CalendarView):
    @schema.list_calendar_versions
    def get(self, request: Request, name: str) -> Response:
        calendar = calendars.get_calendar(self.tenant, name)
        found = calendars.versions_of(calendar)
        page = page_of(request, found, key="pk", read_cursor=read_id)
        return page.response("versions", render_version)


class CalendarDays(CalendarView):
    @schema.list_calendar_days
    def get(self, request: Request, name: str) -> Response:
        version = calendars.find_version(self.tenant, name)
        query = fields.query_parameters(request)
        first, last = read_days(query, clock.now().date())
        days = calendars.covered_days(version, first, last)
        shown = {"version": version.number, "zone": version.zone}
        return Response({**shown, "days": [render_day(each) for each in days]})


class PreviewCalendar(CalendarView):
    for_tenant_admins: ClassVar = True

    @schema.preview_calendar
    def post(self, request: Request, name: str) -> Response:
        content, now = read_content(fields.require_object(request.data)), clock.now()
        effect = calendar_effects.preview_change(self.user, name, content, now=now)
        return Response(render_effect(effect))


class ImportCalendar(CalendarView):
    for_tenant_admins: ClassVar = True

    @schema.import_calendar
    def post(self, request: Request, name: str) -> Response:
        data = fields.require_object(request.data)
        text, now = fields.require_field(data, "ics"), clock.now()
        version = calendars.find_version(self.tenant, name)
        read = read_content(read_file(text, version.zone, now)._asdict())
        content = calendars.with_file(version, read)
        changed = calendars.change_calendar(self.user, name, content, now=now)
        return self.render(changed)
