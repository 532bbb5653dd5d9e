"""The commands for calendars: `scheduler calendars …`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import date
from typing import Any

from scheduler_client import documents, formatting, task_files
from scheduler_client.calendar_models import Calendar, CalendarEffect
from scheduler_client.cli.commands import CommandGroup, Options, UsageError
from scheduler_client.cli.output import succeed
from scheduler_client.cli.task_fields import to_path
from scheduler_client.client import Client


def add_commands(root: CommandGroup) -> None:
    text = "days on which tasks do not fire, fire alone, or wait"
    group = root.add_group("calendars", text)
    group.add_command("list", list_calendars, "list the calendars")
    for name, command, text in (
        ("show", show_calendar, "show a calendar"),
        ("versions", list_versions, "list what a calendar contained"),
        ("remove", remove_calendar, "remove a calendar that no task follows"),
    ):
        _add_name(group.add_command(name, command, text))
    for name, command, text in (
        ("create", create_calendar, "create a calendar"),
        ("change", change_calendar, "replace what a calendar contains"),
    ):
        parser = group.add_command(name, command, text)
        _add_name(parser)
        _add_content(parser)
        if name == "change":
            text = "show what would change, and change nothing"
            parser.add_argument("--plan", action="store_true", help=text)
    parser = group.add_command("days", list_days, "list the days of a calendar")
    _add_name(parser)
    parser.add_argument("--from", dest="since", metavar="DAY", help="default: today")
    parser.add_argument("--to", dest="until", metavar="DAY", help="default: a year on")
    text = "replace dates and ranges by the events of an iCalendar file"
    parser = group.add_command("import", import_calendar, text)
    _add_name(parser)
    parser.add_argument("file", help="the file; - is stdin")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the calendar")


def _add_content(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", help="content in YAML or JSON; - is stdin")
    parser.add_argument("-d", "--data", help="content as a JSON object")
    parser.add_argument("--zone", help="IANA zone whose clock says which day it is")
    parser.add_argument(
        "--date", dest="dates", action="append", metavar="DAY", help="repeatable"
    )
    parser.add_argument(
        "--weekday", dest="weekdays", action="append", metavar="DAY", help="such as sat"
    )
    parser.add_argument(
        "--holidays", metavar="COUNTRY", help="such as DE, or DE-BY for a part of it"
    )


def _content(options: Options) -> dict[str, Any]:
    content: Any = task_files.read_file(to_path(options.file)) if options.file else {}
    if options.data:
        try:
            content = {**content, **documents.parse_json(options.data)}
        except (ValueError, TypeError) as error:
            raise UsageError(f"--data is not a JSON object: {error}") from None
    if not isinstance(content, Mapping):
        raise UsageError("The content of a calendar should be an object")
    names = ("zone", "dates", "weekdays")
    given = {name: getattr(options, name) for name in names}
    if options.holidays:
        country, _, part = options.holidays.partition("-")
        given["holidays"] = {"country": country} | (
            {"subdivision": part} if part else {}
        )
    return {**content, **{name: value for name, value in given.items() if value}}


def list_calendars(client: Client, options: Options) -> int:
    found = list(client.list_calendars())
    head = ("name", "version", "zone", "dates", "ranges", "weekdays", "holidays")
    rows = [
        (
            *(each.name, each.version, each.zone, len(each.dates), len(each.ranges)),
            *(" ".join(each.weekdays), "-".join((each.holidays or {}).values())),
        )
        for each in found
    ]
    lines = formatting.format_table(head, rows)
    return succeed(options, [each.raw for each in found], *lines)


def show_calendar(client: Client, options: Options) -> int:
    return _print(options, client.get_calendar(options.name))


def create_calendar(client: Client, options: Options) -> int:
    made = client.create_calendar(options.name, **_content(options))
    return _print(options, made)


def change_calendar(client: Client, options: Options) -> int:
    if options.plan:
        effect = client.preview_calendar(options.name, **_content(options))
        return _print_effect(options, effect)
    changed = client.change_calendar(options.name, **_content(options))
    return _print(options, changed)


def import_calendar(client: Client, options: Options) -> int:
    ics = to_path(options.file).read_text(encoding="utf-8")
    return _print(options, client.import_calendar(options.name, ics))


def remove_calendar(client: Client, options: Options) -> int:
    client.remove_calendar(options.name)
    return succeed(options, {"removed": options.name}, "Removed")


def list_versions(client: Client, options: Options) -> int:
    found = list(client.list_calendar_versions(options.name))
    head = ("version", "created", "by", "dates", "ranges", "weekdays")
    rows = [
        (
            *(each.version, each.created_at, each.created_by, len(each.dates)),
            *(len(each.ranges), " ".join(each.weekdays)),
        )
        for each in found
    ]
    lines = formatting.format_table(head, rows)
    return succeed(options, [each.raw for each in found], *lines)


def list_days(client: Client, options: Options) -> int:
    since, until = _day(options.since), _day(options.until)
    found = list(client.list_calendar_days(options.name, since=since, until=until))
    rows = [(each.day, "" if each.whole else "in part", each.holiday) for each in found]
    lines = formatting.format_table(("day", "", "holiday"), rows)
    return succeed(options, [each.raw for each in found], *lines)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no day such as 2026-12-24") from None


def _print_effect(options: Options, effect: CalendarEffect) -> int:
    counts = ("dropped", "added", "held", "released")
    total = ("all", *(getattr(effect, name) for name in counts))
    rows = [
        (each["name"] or each["id"], *(each[name] for name in counts))
        for each in effect.effects
    ]
    lines = formatting.format_table(("task", *counts), [*rows, total])
    said = f"{effect.changed} of {effect.compared} tasks change before {effect.until}"
    return succeed(options, effect.raw, said, *lines)


def _print(options: Options, calendar: Calendar) -> int:
    raw = dict(calendar.raw)
    return succeed(options, calendar.raw, *formatting.format_fields(raw))
