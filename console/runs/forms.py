"""The filters of the list of runs, as they stand in its URL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.utils.dateparse import parse_datetime

from tasks_api.domain.states import UNDELIVERED_STATES, UNFINISHED_STATES, RunState

GROUPS: Mapping[str, frozenset[RunState]] = {
    "delivered": frozenset({RunState.SUCCEEDED}),
    "failed": frozenset({RunState.FAILED}),
    "missed": frozenset({RunState.MISSED}),
    "left-out": frozenset({RunState.SKIPPED, RunState.CANCELLED}),
    "waiting": UNFINISHED_STATES,
    "undelivered": UNDELIVERED_STATES,
}
STATE_CHOICES = [
    ("", "Any"),
    ("delivered", "Delivered"),
    ("failed", "Failed"),
    ("missed", "Missed"),
    ("left-out", "Left out: skipped or cancelled"),
    ("waiting", "Waiting or under way"),
    ("undelivered", "Not delivered"),
]
SPANS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
SPAN_CHOICES = [
    ("", "Last day"),
    ("hour", "Last hour"),
    ("week", "Last week"),
    ("month", "Last 30 days"),
    ("all", "All that is kept"),
]


class MomentInput(forms.DateTimeInput):
    """A moment in UTC as browsers edit it, also one that a link gave with an offset."""

    input_type = "datetime-local"

    def format_value(self, value: Any) -> str | None:
        try:
            moment = value if isinstance(value, datetime) else parse_datetime(value)
        except (TypeError, ValueError):
            return None
        if moment is None:
            return None
        in_utc = moment.astimezone(UTC) if moment.tzinfo else moment
        return in_utc.replace(tzinfo=None).isoformat(timespec="seconds")


class MomentField(forms.DateTimeField):
    widget = MomentInput(attrs={"step": "1"})

    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        if moment is not None and not 1970 <= moment.year < 9999:
            raise forms.ValidationError("Choose a later or an earlier year.")
        return moment


class RunFilterForm(forms.Form):
    q = forms.CharField(
        required=False,
        max_length=255,
        label="Task",
        widget=forms.TextInput(attrs={"placeholder": "a part of its name"}),
    )
    state = forms.CharField(
        required=False, max_length=100, widget=forms.Select(choices=STATE_CHOICES)
    )
    last = forms.ChoiceField(
        required=False,
        choices=[*SPAN_CHOICES, ("day", "Last day")],
        label="When",
        widget=forms.Select(choices=SPAN_CHOICES),
    )
    task = forms.UUIDField(required=False, widget=forms.HiddenInput)
    lane = forms.CharField(required=False, max_length=100)
    backfill = forms.UUIDField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(required=False, max_length=200, strip=False)
    code = forms.IntegerField(
        required=False, min_value=100, max_value=999, label="Status of the answer"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `from` is a word of Python.
        self.fields["from"] = MomentField(required=False, label="From (UTC)")
        self.fields["to"] = MomentField(required=False, label="To (UTC)")

    def clean_state(self) -> frozenset[RunState]:
        """The states that the text names: groups and states with commas between."""
        names = [name for name in self.cleaned_data["state"].split(",") if name]
        unknown = [name for name in names if name not in (*GROUPS, *RunState.values)]
        if unknown:
            raise forms.ValidationError(f"There is no state {unknown[0]}.")
        states = (GROUPS.get(name) or {RunState(name)} for name in names)
        return frozenset().union(*states)

    @property
    def simple_fields(self) -> list[forms.BoundField]:
        return [self["q"], self["state"], self["last"]]

    @property
    def further_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("lane", "reason", "code", "from", "to")]

    @property
    def uses_further_fields(self) -> bool:
        return any(field.value() or field.errors for field in self.further_fields)


class RunIdsField(forms.Field):
    """The ids of runs, each a value of its own."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[UUID]:
        try:
            return [UUID(text) for text in value or []]
        except ValueError:
            raise forms.ValidationError("That is no run.") from None


class ChosenRunsForm(forms.Form):
    """The runs to change: those that a person chose, or all that the filter finds."""

    what = forms.ChoiceField(choices=[("chosen", "chosen"), ("all", "all")])
    run = RunIdsField(required=False)

    @property
    def chosen(self) -> list[UUID] | None:
        """The chosen runs; None means all that the filter finds."""
        is_all = self.cleaned_data["what"] == "all"
        run_ids: list[UUID] = self.cleaned_data["run"]
        return None if is_all else run_ids

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The fields that the question sends again."""
        runs = [("run", str(run_id)) for run_id in self.chosen or []]
        return [("what", self.cleaned_data["what"]), *runs]
