"""The fields of a task as a form, by the names that they have in the API."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from rest_framework.exceptions import APIException

from console.task_forms.calendar_fields import CalendarFields
from console.task_forms.schedule_rows import NEEDED, RowForm, make_forms
from tasks_api.api import fields as api_fields
from tasks_api.api import json_codec
from tasks_api.api.tasks.request_fields import METHODS
from tasks_api.domain.exceptions import InvalidTask

EVERY, CRON, ONCE, RRULE, SEVERAL = "every", "cron", "once", "rrule", "several"
SCHEDULES = [
    (EVERY, "Every so often"),
    (CRON, "By a cron expression"),
    (ONCE, "Once"),
    (RRULE, "By a recurrence rule"),
    (SEVERAL, "By several schedules"),
]
# The field that each kind of schedule needs.
WHEN = {EVERY: "every", CRON: "cron", ONCE: "run_datetime", RRULE: "rrule"}
UNITS = [
    ("1", "seconds"),
    ("60", "minutes"),
    ("3600", "hours"),
    ("86400", "days"),
    ("604800", "weeks"),
]
OVERLAPS = [
    ("allow", "starts all the same"),
    ("skip", "is skipped"),
    ("queue_one", "waits until it is over"),
]
MISFIRES = [
    ("latest", "is made up for once, if it is the latest"),
    ("skip", "is left out"),
    ("all", "is made up for, as all others are"),
]
GAPS = [("next_valid", "fires when the gap is over"), ("skip", "does not fire")]
PASSES = [("first", "fires the first time"), ("both", "fires both times")]
SINGLE_LINE = {"spellcheck": "false", "autocomplete": "off"}
CODE = {**SINGLE_LINE, "class": "copy"}


def _text(label: str, help_text: str = "", **attributes: Any) -> forms.CharField:
    widget = forms.TextInput(attrs={**SINGLE_LINE, **attributes})
    return forms.CharField(
        label=label, required=False, help_text=help_text, widget=widget
    )


def _lines(label: str, help_text: str, rows: int) -> forms.CharField:
    widget = forms.Textarea(attrs={**CODE, "rows": rows})
    return forms.CharField(
        label=label, required=False, help_text=help_text, widget=widget, strip=False
    )


def _moment(label: str, help_text: str = "") -> forms.CharField:
    # To the second. Without the type, a browser takes the same text.
    widget = forms.TextInput(attrs={"type": "datetime-local", "step": 1})
    return forms.CharField(
        label=label, required=False, help_text=help_text, widget=widget
    )


def _number(label: str, help_text: str = "") -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"min": 0})
    return forms.IntegerField(
        label=label, required=False, help_text=help_text, widget=widget
    )


class NumberOrTextField(forms.CharField):
    """A whole number, or a word that the API knows or refuses."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        is_number = text.isascii() and text.isdigit() and len(text) <= 9
        return int(text) if is_number else text


def _choice(
    label: str, choices: list[tuple[str, str]], initial: str = ""
) -> forms.ChoiceField:
    """A field whose default is the first choice, or another one."""
    return forms.ChoiceField(
        label=label,
        choices=choices,
        required=False,
        initial=initial or choices[0][0],
    )


class TaskForm(CalendarFields):
    """The form checks only how a value is written; the API checks what it means."""

    use_required_attribute = False

    method = _choice("Method", [(name, name) for name in METHODS], "POST")
    url = _text("URL", "Where the request goes: http or https.", type="url", **CODE)
    headers = _lines(
        "Headers",
        "One a line, such as <code>X-Api-Key: 5f0c…</code>. Their values are stored "
        "encrypted, and not shown again.",
        3,
    )
    body = _lines("Body", "JSON, unless you name another media type below.", 5)
    content_type = _text(
        "Media type of the body", "Empty for JSON.", placeholder="application/json"
    )
    queue = _text(
        "Pull queue",
        "The name of a queue that gets the body as a job, instead of a URL.",
    )
    timeout_seconds = _number("Seconds that the request may take")
    expected_status = _text(
        "Statuses that count as success",
        "Such as <code>200-299,304</code>. Empty for all below 400.",
    )
    deadline = _number(
        "Seconds of long work",
        "For a target that answers 202 and reports the result later.",
    )

    schedule = forms.ChoiceField(
        label="When", choices=SCHEDULES, widget=forms.RadioSelect, initial=CRON
    )
    every = _number("Every")
    unit = _choice("Unit", UNITS, "3600")
    cron = _text("Cron expression", placeholder="0 9 * * MON-FRI", **CODE)
    run_datetime = _moment("At")
    rrule = _lines(
        "Recurrence rule",
        "As calendars write it: <code>DTSTART;TZID=Europe/Berlin:20261201T090000</code>, and "
        "below it <code>RRULE:FREQ=MONTHLY;BYDAY=-1FR</code>. Without DTSTART, it begins at "
        "“Not before”.",
        3,
    )
    timezone = _text("Time zone", list="zones")
    start_datetime = _moment("Not before")
    end_datetime = _moment("Not after")
    gap = _choice("A local time that the clock skips", GAPS)
    passes = _choice("A local time that the clock shows twice", PASSES)
    lane = _text("Lane")
    spread = NumberOrTextField(
        label="Seconds to spread fire times over",
        required=False,
        help_text="So that not all tasks fire at once. With <code>auto</code>, the "
        "service chooses the emptiest place.",
        widget=forms.TextInput(attrs=SINGLE_LINE),
    )
    admit = forms.BooleanField(
        label="Store it anyway: it makes runs of the lane late", required=False
    )

    max_attempts = _number(
        "Attempts", "How often a failed request is sent in all. Empty: once."
    )
    min_delay = forms.FloatField(label="Seconds between two, at least", required=False)
    max_delay = forms.FloatField(label="At most", required=False)
    max_age = forms.FloatField(
        label="Seconds after which the run is given up", required=False
    )
    statuses = _text("Statuses to try again", placeholder="408,425,429,500-599")
    overlap = _choice("While a run is under way, the next one", OVERLAPS)
    misfire = _choice("A fire time that nobody could take", MISFIRES)
    catchup_window = _number("Seconds by which a run may be late")
    pause_after_failures = _number("Pause after so many failed runs in a row")
    max_runs = _number(
        "End after so many runs",
        "Runs of its schedule; those that are skipped or missed do not count.",
    )
    stop_on_success = forms.BooleanField(
        label="End after the first run that succeeds", required=False
    )

    name = _text("Name", "Unique in your tenant, such as <code>reports/daily</code>.")
    tags = _text("Tags", "Separated by commas.")
    paused = forms.BooleanField(
        label="Paused: it fires only after you resume it", required=False
    )

    # What the server put into the form.
    key = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)
    row_count = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        values = self.data if self.is_bound else self.initial
        self.rows: list[RowForm] = make_forms(values, is_bound=self.is_bound)
        self.initial["row_count"] = len(self.rows)
        # The rows of the schedules that the API reads.
        self._said_rows: list[RowForm] = []

    def clean_timezone(self) -> str:
        zone: str = self.cleaned_data["timezone"] or "UTC"
        try:
            return api_fields.time_zone("timezone", zone)
        except InvalidTask as error:
            raise forms.ValidationError(str(error)) from None

    def clean_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in filter(str.strip, self.cleaned_data["headers"].splitlines()):
            name, colon, value = line.partition(":")
            if not colon:
                raise forms.ValidationError(f"{line[:60]}: there is no colon in it.")
            if name.strip() in headers:
                raise forms.ValidationError(f"{name.strip()} is there twice.")
            headers[name.strip()] = value.strip()
        return headers

    def clean_body(self) -> str:
        body: str = self.cleaned_data["body"]
        if len(body.encode()) > settings.SCHEDULER_MAX_BODY_BYTES:
            raise forms.ValidationError(
                f"It has more than {settings.SCHEDULER_MAX_BODY_BYTES} bytes."
            )
        return body

    def clean_tags(self) -> list[str]:
        tags = (tag.strip() for tag in self.cleaned_data["tags"].split(","))
        return [tag for tag in tags if tag]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        text = data.get("body", "")
        if text.strip() and not is_text(data.get("content_type", "")):
            try:
                data["body"] = json_codec.loads(text.encode("utf-8", "replace"))
            except APIException as error:
                reason = str(error.detail).replace("The request body", "The body")
                self.add_error("body", reason)
        # The API would ask for another way to say when.
        when = WHEN.get(data.get("schedule", ""))
        if when and when not in self.errors and not data[when]:
            self.add_error(when, NEEDED)
        if data.get("schedule") == SEVERAL:
            data["schedules"] = self._read_rows()
        return self.cleaned_data

    def _read_rows(self) -> list[dict[str, Any]]:
        for number, row in enumerate(self.rows, start=1):
            if not row.is_valid():
                self.add_error("schedule", f"Schedule {number} is not complete.")
        self._said_rows = [
            row for row in self.rows if row.is_valid() and not row.says_nothing
        ]
        return [row.to_entry() for row in self._said_rows]

    def refuse_row(self, place: int, reason: str) -> None:
        """Say beside one of several schedules why it cannot be stored."""
        row = self._said_rows[place]
        row.add_error("value", reason)
        number = self.rows.index(row) + 1
        self.add_error("schedule", f"Schedule {number} cannot be stored.")

    @property
    def says_when(self) -> bool:
        """Return whether the field that the schedule needs says something."""
        chosen = self.cleaned_data.get("schedule", "")
        return NEEDED not in self.errors.get(WHEN.get(chosen, ""), ())


def is_text(content_type: str) -> bool:
    """Return whether a body of this media type is sent as it is written."""
    media_type = content_type.partition(";")[0].strip().lower()
    return bool(media_type) and not media_type.endswith(("/json", "+json"))
