"""Several schedules in a form: a row for each, which is added and removed by a button."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.http import QueryDict

from console.task_forms.calendar_fields import LISTS
from console.task_forms.moments import in_utc
from tasks_api.api.tasks.rule_fields import MAX_SCHEDULES, MIN_SCHEDULES

CRON, EVERY, RRULE, ONCE = "cron", "every", "rrule", "once"
KINDS = [
    (CRON, "By a cron expression"),
    (EVERY, "Every so often"),
    (RRULE, "By a recurrence rule"),
    (ONCE, "Once"),
]
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_EVERY = re.compile(rf"([0-9]{{1,9}})\s*({'|'.join(UNITS)})?s?", re.ASCII | re.I)
_PREFIX = "row-"
ADD, REMOVE = "add-row", "remove-row-"
NEEDED = "This is needed."

Row = dict[str, Any]


class RowForm(forms.Form):
    """One of several schedules. A row that says nothing is none."""

    use_required_attribute = False

    kind = forms.ChoiceField(label="Kind", choices=KINDS, required=False)
    value = forms.CharField(
        label="When",
        required=False,
        max_length=1_000,
        help_text="<code>0 9 * * MON-FRI</code>, <code>90 minutes</code>, lines of "
        "DTSTART and RRULE, or <code>2026-12-24 18:00</code>.",
        widget=forms.Textarea(
            attrs={"rows": 2, "class": "copy", "spellcheck": "false"}
        ),
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
    )
    start = forms.CharField(
        label="Not before",
        required=False,
        widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1}),
    )
    end = forms.CharField(
        label="Not after",
        required=False,
        widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1}),
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if not self.says_nothing and not given.get("value"):
            self.add_error("value", NEEDED)
        is_every = given.get("kind") == EVERY and given.get("value")
        if is_every and not _EVERY.fullmatch(given["value"].strip()):
            self.add_error("value", "It should be a number and a unit: 90 minutes.")
        return given

    @property
    def says_nothing(self) -> bool:
        given = self.cleaned_data
        return not any(given.get(name) for name in ("value", "start", "end"))

    def to_entry(self) -> dict[str, Any]:
        """Return the schedule as the API reads it."""
        given = self.cleaned_data
        zone, bounds = given.get("zone") or "UTC", {}
        for name, field in (("start", "start_datetime"), ("end", "end_datetime")):
            if given.get(name):
                bounds[field] = in_utc(given[name], zone)
        return {**_when(given.get("kind") or CRON, given["value"], zone), **bounds}


def _when(kind: str, value: str, zone: str) -> dict[str, Any]:
    if kind == EVERY:
        found = _EVERY.fullmatch(value.strip())
        assert found is not None
        return {"frequency": int(found[1]) * UNITS[(found[2] or "second").lower()]}
    if kind == ONCE:
        return {"run_datetime": in_utc(value, zone)}
    if kind == RRULE:
        return rule_body(value, zone)
    return {"cron": value, "timezone": zone}


def rule_body(text: str, zone: str) -> dict[str, str]:
    """Return a recurrence rule; its zone is its own if it has a DTSTART."""
    lines = "\n".join(text.split("\r\n")).strip()
    own = {} if "DTSTART" in lines.upper() else {"timezone": zone}
    return {"rrule": lines, **own}


# Rows as the values of a form.


def read_rows(data: Mapping[str, Any]) -> list[Row]:
    """Return the rows of what a form sent, or begins with: two empty ones at least."""
    text = str(data.get("row_count") or "")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else 0
    count = min(max(count, MIN_SCHEDULES), MAX_SCHEDULES)
    return [
        {field: data.get(f"{_prefix(number)}-{field}", "") for field in _FIELDS}
        for number in range(count)
    ]


_FIELDS = tuple(RowForm.base_fields)


def _prefix(number: int) -> str:
    return f"{_PREFIX}{number}"


def make_forms(data: Mapping[str, Any], *, is_bound: bool) -> list[RowForm]:
    if is_bound:
        return [
            RowForm(data, prefix=_prefix(number))
            for number in range(len(read_rows(data)))
        ]
    return [
        RowForm(initial={"zone": "UTC", **_said(row)}, prefix=_prefix(number))
        for number, row in enumerate(read_rows(data))
    ]


def _said(row: Row) -> Row:
    return {field: value for field, value in row.items() if value}


def row_values(rows: Sequence[Row]) -> dict[str, Any]:
    """Return rows as the values of a form, which read_rows() reads."""
    values: dict[str, Any] = {"row_count": len(rows)}
    for number, row in enumerate(rows):
        values |= {f"{_prefix(number)}-{field}": row[field] for field in row}
    return values


def edited_rows(data: QueryDict) -> dict[str, Any] | None:
    """Return the values of a form after its button added or removed a row.

    None if another button was pressed.
    """
    action, rows = data.get("action", ""), read_rows(data)
    number = action.removeprefix(REMOVE)
    if action == ADD:
        rows = [*rows, {}][:MAX_SCHEDULES]
    elif action != number and number.isdecimal() and int(number) < len(rows):
        del rows[int(number)]
    else:
        return None
    rest = {name: data[name] for name in data if not name.startswith(_PREFIX)}
    lists = {name: data.getlist(name) for name in LISTS if name in data}
    return {**rest, **lists, **row_values(rows)}


def rows_of(entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of schedules as the API shows them."""
    return [dict(_row_of(entry)) for entry in entries]


def _row_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    zone = entry.get("timezone") or "UTC"
    yield "zone", zone
    if entry.get("run_datetime"):
        yield from (("kind", ONCE), ("value", _local(entry["run_datetime"], zone, " ")))
    elif entry.get("rrule"):
        yield from (("kind", RRULE), ("value", entry["rrule"]))
    elif entry.get("cron"):
        yield from (("kind", CRON), ("value", entry["cron"]))
    else:
        yield from (("kind", EVERY), ("value", _in_units(entry.get("frequency") or 0)))
    for name, field in (("start", "start_datetime"), ("end", "end_datetime")):
        if entry.get(field):
            yield name, _local(entry[field], zone, "T")


def _local(text: str, zone: str, separator: str) -> str:
    at = datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    return at.replace(tzinfo=None).isoformat(separator, "seconds")


def _in_units(seconds: int) -> str:
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    count = seconds // UNITS[unit]
    return f"{count} {unit}{'' if count == 1 else 's'}"
