"""The form of a rule: which events of which tasks go to which channel, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from tasks_api.domain import notice_limits as limits
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.notices import Event
from tasks_api.services.rules import DEFAULT_LATE_AFTER, DEFAULT_STREAK

EVENT_LABELS: Mapping[Event, str] = {
    Event.RUN_FAILED: "A run failed, after its last retry",
    Event.TASK_FAILING: "A task keeps failing: so many runs in a row",
    Event.TASK_RECOVERED: "A task has recovered: a run succeeded after failed ones",
    Event.RUN_LATE: "A run was late",
    Event.RUN_MISSED: "A fire time was missed: it made no request",
    Event.RUN_OVERDUE: "The target of long work did not report by its deadline",
    Event.TASK_PAUSED: "The service paused a task",
    Event.TASK_ENDED: "The service ended a task, because its target is gone",
}
DIGEST_LABELS = {
    0: "At once",
    5 * 60: "Every 5 minutes",
    15 * 60: "Every 15 minutes",
    3600: "Every hour",
    6 * 3600: "Every 6 hours",
    24 * 3600: "Once a day",
}
QUIET_FIELDS = ("quiet_from", "quiet_until", "quiet_zone")


def _time_of_day(label: str) -> forms.TimeField:
    widget = forms.TimeInput(format="%H:%M", attrs={"type": "time"})
    return forms.TimeField(required=False, label=label, widget=widget)


class RuleForm(forms.Form):
    """The columns of a rule, and the name of its task."""

    channel_id = forms.TypedChoiceField(label="Channel")
    events = forms.MultipleChoiceField(
        choices=[(event.value, label) for event, label in EVENT_LABELS.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    task = forms.CharField(
        required=False,
        max_length=255,
        label="Only of the task",
        help_text="Its name or its id. Empty: of all tasks of the tenant.",
    )
    tag = forms.CharField(
        required=False,
        max_length=limits.MAX_TAG_LENGTH,
        label="Only of tasks with the tag",
    )
    streak = forms.IntegerField(
        min_value=1,
        max_value=limits.MAX_STREAK,
        initial=DEFAULT_STREAK,
        label="A task keeps failing after so many failed runs in a row",
    )
    late_after = forms.IntegerField(
        min_value=1,
        max_value=limits.MAX_LATE_AFTER,
        initial=DEFAULT_LATE_AFTER,
        label="A run is late after so many seconds",
    )
    digest_seconds = forms.TypedChoiceField(
        coerce=int,
        initial=0,
        label="Send",
        help_text="What happens in between is gathered into one message.",
    )
    quiet_from = _time_of_day("Quiet from")
    quiet_until = _time_of_day("Quiet until")
    quiet_zone = forms.CharField(
        required=False,
        max_length=100,
        label="In the time zone",
        help_text="Such as Europe/Berlin. What happens in quiet hours is sent at their "
        "end, in one message. Leave all three empty for none.",
    )
    is_paused = forms.BooleanField(
        required=False, label="Paused", help_text="A paused rule sends nothing."
    )

    def __init__(self, *args: Any, channels: Iterable[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choose("channel_id", [(str(each.pk), each.name) for each in channels])
        stored = int(self.initial.get("digest_seconds", 0))
        spans = DIGEST_LABELS | {stored: DIGEST_LABELS.get(stored, f"Every {stored} s")}
        self.choose("digest_seconds", sorted(spans.items()))

    def choose(self, name: str, choices: list[tuple[Any, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.TypedChoiceField)
        field.choices = choices

    def clean_quiet_zone(self) -> str:
        zone: str = self.cleaned_data["quiet_zone"]
        try:
            return known_zone(zone) if zone else ""
        except ScheduleError as error:
            raise ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if given.get("task") and given.get("tag"):
            self.add_error("tag", "A rule is about a task or about a tag, not both.")
        quiet = [given.get(name) not in (None, "") for name in QUIET_FIELDS]
        if any(quiet) and not all(quiet) and "quiet_zone" not in self.errors:
            self.add_error("quiet_zone", "Quiet hours take all three, or none.")
        elif all(quiet) and given["quiet_from"] == given["quiet_until"]:
            self.add_error("quiet_until", "It is the same as their beginning.")
        return given

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the rule except for its task, whose name is in `task`."""
        return {
            name: value for name, value in self.cleaned_data.items() if name != "task"
        }
