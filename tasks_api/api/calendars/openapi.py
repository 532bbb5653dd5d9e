"""The operations on calendars in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.calendars.calendar_fields import (
    DEFAULT_DAYS,
    MAX_CALENDAR_NAME_LENGTH,
    MAX_DATES,
    MAX_DAYS,
    MAX_NAMED_TASKS,
    MAX_RANGES,
)
from tasks_api.api.openapi import count, text
from tasks_api.api.products import Product
from tasks_api.api.tenant_openapi import (
    BAD_LIMIT,
    MESSAGE,
    PAGING,
    TOO_LARGE,
    closed,
    describer,
    page_of,
    with_body,
)
from tasks_api.domain.calendar_files import MAX_FILE_LENGTH
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.services.calendar_effects import MAX_FIRE_TIMES

_DAY = text("A day, such as 2026-12-24.", format="date")
_CONTENT_IN: dict[str, Any] = {
    "zone": text("The IANA zone whose clock says which day it is: UTC if absent."),
    "dates": {
        "type": "array",
        "maxItems": MAX_DATES,
        "items": _DAY,
        "description": "Single days.",
    },
    "ranges": {
        "type": "array",
        "maxItems": MAX_RANGES,
        "description": "Days from the first to the last one, or moments: the end of a "
        "range of moments is not part of it. Moments without an offset are in the zone.",
        "items": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {
                "from": text("The first day or moment."),
                "to": text("The last day, or the moment at which the range ends."),
            },
        },
    },
    "weekdays": {
        "type": "array",
        "items": {"type": "string", "enum": list(WEEKDAYS)},
        "description": "Days of each week.",
    },
    "holidays": {
        "type": "object",
        "description": "The public holidays of a country, or of a part of it.",
        "required": ["country"],
        "properties": {
            "country": text("The code of ISO 3166, such as DE."),
            **openapi.optional(
                {"subdivision": text("The code of the part, such as BY.")}
            ),
        },
    },
}
_NAME = text(
    "The name of the calendar, unique in the tenant.",
    minLength=1,
    maxLength=MAX_CALENDAR_NAME_LENGTH,
)
_VERSION = count("The version that counts. Each change makes another one.")
_CONTENT_OUT = {
    **_CONTENT_IN,
    "holidays": {**_CONTENT_IN["holidays"], "nullable": True},
}
CALENDAR_OUT = {
    "type": "object",
    "required": [
        *("name", "version", "created_at", "changed_at"),
        *_CONTENT_OUT,
    ],
    "properties": {
        "name": _NAME,
        "version": _VERSION,
        **_CONTENT_OUT,
        "created_at": text("When the calendar was created."),
        "changed_at": text("When the version was made."),
        "task_count": count("How many tasks follow the calendar; not in the list."),
    },
}
_CHANGE_IN = {"type": "object", "properties": openapi.optional(_CONTENT_IN)}
_CREATE_IN = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _NAME, **openapi.optional(_CONTENT_IN)},
}
_ICS_IN = {
    "type": "object",
    "required": ["ics"],
    "properties": {
        "ics": text(
            "The text of an ICS file (RFC 5545). Its events replace the dates and ranges of the "
            "calendar.",
            maxLength=MAX_FILE_LENGTH,
        )
    },
}
_VERSION_OUT = closed(
    version=count("The number of the version."),
    **_CONTENT_OUT,
    created_at=text("When it was made."),
    created_by=text("The user who made it."),
)
_DAYS_OUT = closed(
    version=_VERSION,
    zone=text("The zone whose clock says which day it is."),
    days={
        "type": "array",
        "description": "The days that the calendar has, in order.",
        "items": closed(
            day=_DAY,
            whole={
                "type": "boolean",
                "description": "Whether the calendar has the whole day, and not a part.",
            },
            holiday=text("The name of the holiday, if it is one.", nullable=True),
        ),
    },
)
_EFFECTS = {
    "dropped": count("Fire times that go away; one that moves goes away and comes."),
    "added": count("Fire times that come."),
    "held": count("Fire times whose runs would wait, and do not now."),
    "released": count("Fire times whose runs wait now, and would not."),
}
_EFFECT_OUT = closed(
    task_count=count("How many tasks follow the calendar."),
    compared=count(
        "How many of them were compared: as many as a second is enough for."
    ),
    until=text("Fire times up to this moment were compared."),
    changed=count("How many tasks have other fire times, or other waits."),
    **_EFFECTS,
    effects={
        "type": "array",
        "maxItems": MAX_NAMED_TASKS,
        "description": f"The first {MAX_NAMED_TASKS} tasks that change.",
        "items": closed(
            id=text("The id of the task.", format="uuid"),
            name=text("Its name; empty if it has none."),
            **_EFFECTS,
            over={
                "type": "boolean",
                "description": "Whether no fire time is left to it in this time.",
            },
        ),
    },
)
_CONTENT = {
    "zone": "Europe/Berlin",
    "dates": ["2027-05-28"],
    "ranges": [{"from": "2026-12-24", "to": "2027-01-01"}],
    "weekdays": ["sat", "sun"],
    "holidays": {"country": "DE", "subdivision": "BY"},
}
_CALENDAR = {
    "name": "closed",
    "version": 1,
    **_CONTENT,
    "created_at": "2026-11-29T08:00:00Z",
    "changed_at": "2026-11-29T08:00:00Z",
    "task_count": 12,
}
_SHOWN = openapi.response(CALENDAR_OUT, _CALENDAR, "The calendar.")
_NO_CALENDAR = openapi.error_response("Calendar not found")
_BAD = openapi.error_response(
    "Invalid value of weekdays. It should be a list of mon, tue, wed, thu, fri, sat or sun"
)
_PATH = openapi.path_parameter("name", "The name of the calendar.")
_TOO_MANY = openapi.error_response(
    "More than 10000 tasks follow this calendar, and a change moves at most as many; let "
    "some follow another calendar with the same content"
)

_describe = describer(Product.CALENDARS)

list_calendars = _describe(
    "list_calendars",
    "List the calendars",
    "Returns the calendars of your tenant by their names.",
    {
        200: openapi.response(
            closed(
                calendars={
                    "type": "array",
                    "description": "The calendars.",
                    "items": CALENDAR_OUT,
                }
            ),
            {"calendars": [_CALENDAR]},
            "The calendars.",
        )
    },
)
create_calendar = _describe(
    "create_calendar",
    "Create a calendar",
    "Creates a calendar with its first version. This needs an administrator's token of "
    "scope admin. A name that is taken results in 409.",
    {
        201: openapi.response(CALENDAR_OUT, _CALENDAR, "The calendar."),
        400: _BAD,
        409: openapi.error_response("There is a calendar closed already"),
        413: TOO_LARGE,
    },
    parameters=[
        openapi.response_header("Location", 201, "The path of the new calendar.")
    ],
    **with_body(_CREATE_IN, {"name": "closed", **_CONTENT}, answered=CALENDAR_OUT),
)
get_calendar = _describe(
    "get_calendar",
    "Get a calendar",
    "Returns a calendar of your tenant. An unknown name results in 404.",
    {200: _SHOWN, 404: _NO_CALENDAR},
    parameters=[_PATH],
)
change_calendar = _describe(
    "change_calendar",
    "Change a calendar",
    "Replaces what a calendar contains by a new version, and moves all tasks that follow "
    "it, in one transaction. The versions before stay, and the accounts of tasks use them. "
    "The holidays of a country are those that the service knows now.",
    {200: _SHOWN, 400: _BAD, 404: _NO_CALENDAR, 409: _TOO_MANY, 413: TOO_LARGE},
    parameters=[_PATH],
    **with_body(_CHANGE_IN, _CONTENT, answered=CALENDAR_OUT),
)
remove_calendar = _describe(
    "remove_calendar",
    "Remove a calendar",
    "Removes a calendar that no task follows. If tasks follow it, the answer is 409 with "
    "their number.",
    {
        200: openapi.response(
            MESSAGE,
            {"message": "Calendar has been removed successfully"},
            "The calendar is gone.",
        ),
        404: _NO_CALENDAR,
        409: openapi.error_response(
            "12 tasks follow this calendar; take it from them first"
        ),
    },
    parameters=[_PATH],
)
list_calendar_versions = _describe(
    "list_calendar_versions",
    "List the versions of a calendar",
    "Returns what the calendar contained at all times, the newest version first.",
    {
        200: openapi.response(
            page_of("versions", _VERSION_OUT, "The versions."),
            {
                "versions": [
                    {
                        "version": 1,
                        **_CONTENT,
                        "created_at": "2026-11-29T08:00:00Z",
                        "created_by": "ada",
                    }
                ],
                "next_cursor": None,
            },
            "Versions, the newest first.",
        ),
        400: BAD_LIMIT,
        404: _NO_CALENDAR,
    },
    parameters=[_PATH, *PAGING],
)
list_calendar_days = _describe(
    "list_calendar_days",
    "List the days of a calendar",
    "Returns the days that the calendar has, each with the holiday on it.",
    {
        200: openapi.response(
            _DAYS_OUT,
            {
                "version": 1,
                "zone": "Europe/Berlin",
                "days": [
                    {
                        "day": "2026-12-25",
                        "whole": True,
                        "holiday": "Erster Weihnachtstag",
                    }
                ],
            },
            "The days.",
        ),
        400: openapi.error_response(
            f"Invalid value of to. It should be at most {MAX_DAYS} days after from"
        ),
        404: _NO_CALENDAR,
    },
    parameters=[
        _PATH,
        OpenApiParameter(
            "from", OpenApiTypes.DATE, description="The first day: today if absent."
        ),
        OpenApiParameter(
            "to",
            OpenApiTypes.DATE,
            description=f"The last day: {DEFAULT_DAYS} days in all if absent, and at most "
            f"{MAX_DAYS}.",
        ),
    ],
)
preview_calendar = _describe(
    "preview_calendar",
    "Preview a change",
    "Takes what a change of the calendar takes, changes nothing, and returns what the change "
    "would do to the coming fire times of the tasks that follow it: those of a year, and at "
    f"most {MAX_FIRE_TIMES} of each task. Paused tasks count as if they went on.",
    {
        200: openapi.response(
            _EFFECT_OUT,
            {
                "task_count": 12,
                "compared": 12,
                "until": "2027-11-30T08:00:00Z",
                "changed": 1,
                **dict.fromkeys(_EFFECTS, 0),
                "dropped": 1,
                "effects": [
                    {
                        "id": "01a1fc25-cc90-73cc-897d-06cb540be56b",
                        "name": "reports/daily",
                        **dict.fromkeys(_EFFECTS, 0),
                        "dropped": 1,
                        "over": False,
                    }
                ],
            },
            "What the change would do.",
        ),
        400: _BAD,
        404: _NO_CALENDAR,
        413: TOO_LARGE,
    },
    parameters=[_PATH],
    **with_body(_CHANGE_IN, _CONTENT),
)
import_calendar = _describe(
    "import_calendar",
    "Import an ICS file",
    "Replaces the dates and ranges of a calendar by the events of a file; its weekdays and "
    "holidays stay. Events repeat by simple rules, for ten years from now. Names of zones "
    "count, and rules of zones in the file do not.",
    {
        200: _SHOWN,
        400: openapi.error_response(
            "Invalid value of ics. The file should be the text of an ICS file"
        ),
        404: _NO_CALENDAR,
        409: _TOO_MANY,
        413: TOO_LARGE,
    },
    parameters=[_PATH],
    **with_body(
        _ICS_IN,
        {
            "ics": "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20261224\n"
            "END:VEVENT\nEND:VCALENDAR\n"
        },
    ),
)
