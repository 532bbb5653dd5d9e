"""The forms of a calendar of days, which write the body of a request to the API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from console.calendars.words import WEEKDAY_NAMES
from console.task_forms.checks import sentence
from tasks_api.api.calendars.calendar_fields import read_content, read_day, read_name
from tasks_api.domain.calendar_files import MAX_FILE_LENGTH
from tasks_api.domain.cron import instant_of
from tasks_api.domain.day_sets import is_span
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.holiday_days import country_names
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services.calendars import CalendarContent

# The lines of a text that are named as wrong at once.
MAX_WRONG_LINES = 5
MAX_TEXT = 400_000
KIB = 1024
LINES = {"spellcheck": "false", "autocomplete": "off", "class": "copy", "rows": 6}
# The field of the form for a field of the API.
_FORM_NAMES = {"holidays.country": "country", "holidays.subdivision": "subdivision"}


def _lines(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=MAX_TEXT,
        # The numbers of lines in errors are those of the text as it was written.
        strip=False,
        help_text=help_text,
        widget=forms.Textarea(attrs=LINES),
    )


class CalendarForm(forms.Form):
    """What a calendar has. The form reads lines; the API's reader says what is wrong."""

    name = forms.CharField(
        strip=False,
        help_text="Tasks name it, and it stays: such as de-holidays.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "maxlength": 100}),
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        help_text="Its clock says which day it is. Empty for UTC.",
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
    )
    country = forms.ChoiceField(label="Public holidays of", required=False)
    subdivision = forms.CharField(
        label="Part of the country",
        required=False,
        max_length=20,
        help_text="Its code, such as BY for Bavaria. Empty for the whole country.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    weekdays = forms.MultipleChoiceField(
        required=False,
        choices=list(WEEKDAY_NAMES.items()),
        widget=forms.CheckboxSelectMultiple,
    )
    dates = _lines("Single days", "One a line, such as <code>2026-12-24</code>.")
    ranges = _lines(
        "Ranges and blackout windows",
        "One a line: days, such as <code>2026-12-24 to 2027-01-01</code>, both included; "
        "or moments, such as <code>2026-12-24 18:00 to 2026-12-27 06:00</code>, by the "
        "clock of the time zone.",
    )
    # The version that the form shows, and what its page has said of the change.
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    previewed = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, is_new: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        country = self.fields["country"]
        assert isinstance(country, forms.ChoiceField)
        country.choices = [("", "no country"), *country_names().items()]
        if not is_new:
            del self.fields["name"]

    def clean_name(self) -> str:
        try:
            return read_name(self.cleaned_data["name"].strip())
        except InvalidTask as error:
            raise forms.ValidationError(sentence(error)) from None

    def clean_dates(self) -> list[str]:
        found, wrong = [], []
        for number, line in _numbered(self.cleaned_data["dates"]):
            try:
                found.append(read_day("dates", line).isoformat())
            except InvalidTask:
                wrong.append(
                    f"Line {number}: {line:.40} is no day, such as 2026-12-24."
                )
        return _unless_wrong(found, wrong)

    def clean_ranges(self) -> list[dict[str, str]]:
        zone = self.cleaned_data.get("zone") or "UTC"
        found, wrong = [], []
        for number, line in _numbered(self.cleaned_data["ranges"]):
            first, middle, last = line.partition(" to ")
            each = {"from": first.strip(), "to": last.strip()}
            problem = _problem_of(each, zone) if middle else "there is no “to” in it."
            if problem:
                wrong.append(f"Line {number}: {line:.60}: {problem}")
            found.append(each)
        return _unless_wrong(found, wrong)

    def clean(self) -> dict[str, Any]:
        if not self.errors:
            try:
                self.cleaned_data["content"] = read_content(self._body())
            except InvalidTask as error:
                self.refuse(error)
        return self.cleaned_data

    def _body(self) -> dict[str, Any]:
        given = self.cleaned_data
        country = {"country": given["country"], "subdivision": given["subdivision"]}
        return {
            "zone": given["zone"] or "UTC",
            "dates": given["dates"],
            "ranges": given["ranges"],
            "weekdays": given["weekdays"],
            "holidays": country if given["country"] else None,
        }

    def refuse(self, error: InvalidTask) -> None:
        """Say beside a field why it cannot be stored."""
        name = _FORM_NAMES.get(error.field, error.field.partition("[")[0])
        self.add_error(name if name in self.fields else None, sentence(error))

    @property
    def content(self) -> CalendarContent:
        found: CalendarContent = self.cleaned_data["content"]
        return found

    def put(self, **values: object) -> None:
        """Change what the form shows in its fields."""
        data: Any = self.data
        data = data.copy()
        for name, value in values.items():
            data[name] = str(value)
        self.data = data


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, with their numbers from 1 on."""
    lines = enumerate(text.splitlines(), start=1)
    return ((number, line.strip()) for number, line in lines if line.strip())


def _unless_wrong(found: list[Any], wrong: Sequence[str]) -> list[Any]:
    if not wrong:
        return found
    more = len(wrong) - MAX_WRONG_LINES
    rest = [f"{more} more lines are wrong."] if more > 0 else []
    raise forms.ValidationError([*wrong[:MAX_WRONG_LINES], *rest])


def _problem_of(each: Mapping[str, str], zone: str) -> str:
    """Return what the API says of a range; empty if it takes it, or refuses the zone."""
    try:
        read_content({"zone": zone, "ranges": [each]})
    except InvalidTask as error:
        text = str(error).removeprefix(f"Invalid value of {error.field}. Value ")
        return "" if error.field == "zone" else f"it {text}."
    return ""


def seal_of(content: CalendarContent, version: int) -> str:
    """Return a text that says which change of which version a page has shown."""
    text = f"{version} {content.zone} {content.content}"
    return hashlib.sha256(text.encode()).hexdigest()


def initial_of(version: Any, content: CalendarContent | None = None) -> dict[str, Any]:
    """Return the values of a form for a version, or for a content in its place."""
    shown = content or CalendarContent(version.zone, version.content)
    holidays = shown.content["holidays"] or {}
    return {
        "zone": shown.zone,
        "country": holidays.get("country", ""),
        "subdivision": holidays.get("subdivision", ""),
        "weekdays": shown.content["weekdays"],
        "dates": "\n".join(shown.content["dates"]),
        "ranges": "\n".join(
            _range_line(it, shown.zone) for it in shown.content["ranges"]
        ),
        "version": version.number,
    }


def _range_line(each: Mapping[str, str], zone: str) -> str:
    first, last = (
        _local(each[name], zone) if is_span(each) else each[name]
        for name in ("from", "to")
    )
    return f"{first} to {last}"


def _local(text: str, zone: str) -> str:
    """Return a moment by the clock of the zone, or in UTC if that clock shows it twice."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    local = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if instant_of(local, zone) != moment:
        return format_timestamp(moment)
    return local.isoformat(" ", "seconds").removesuffix(":00")


class FileForm(forms.Form):
    """An ICS file, whose events take the place of days and ranges."""

    file = forms.FileField(
        label="ICS file",
        help_text=f"At most {MAX_FILE_LENGTH // KIB} KiB.",
        widget=forms.FileInput(attrs={"accept": ".ics,text/calendar"}),
    )

    def clean_file(self) -> str:
        """The text of the file, which has a bound before anybody reads it."""
        upload = self.cleaned_data["file"]
        if upload.size > MAX_FILE_LENGTH:
            raise forms.ValidationError(
                f"The file has {upload.size // KIB} KiB, and may have "
                f"{MAX_FILE_LENGTH // KIB}."
            )
        content: bytes = upload.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise forms.ValidationError(f"Line {line} is no UTF-8 text.") from None
