"""The calendars of a task in a form: by which it does not fire, fires alone, or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

# The lists of the API, by the names of the form's fields.
LISTS = ("exclude", "only", "hold")
FIELDS = (*LISTS, "on_excluded", "pace")
SKIP = "skip"
ON_EXCLUDED = [
    (SKIP, "does not fire"),
    ("next_business_day", "moves to the next business day"),
    ("previous_business_day", "moves to the previous business day"),
]


class NamesField(forms.MultipleChoiceField):
    """Names of calendars; the service says which of them there are."""

    widget = forms.CheckboxSelectMultiple

    def valid_value(self, value: str) -> bool:
        return True


class CalendarFields(forms.Form):
    exclude = NamesField(label="Does not fire on the days of", required=False)
    only = NamesField(label="Fires only on the days of", required=False)
    on_excluded = forms.ChoiceField(
        label="A fire time on another day",
        choices=ON_EXCLUDED,
        required=False,
        initial=SKIP,
    )
    hold = NamesField(label="Its runs wait in the time of", required=False)
    pace = forms.CharField(
        label="After it they go",
        required=False,
        help_text="So many a second, minute or hour, such as <code>20/minute</code>. "
        "Empty: all at once.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def offer_calendars(self, names: Sequence[str]) -> None:
        """Let people choose among calendars, and among those that the form has already."""
        for name in LISTS:
            field = self.fields[name]
            assert isinstance(field, NamesField)
            offered = sorted({*names, *(self[name].value() or ())})
            field.choices = [(each, each) for each in offered]

    @property
    def has_calendars(self) -> bool:
        return any(self[name].value() for name in LISTS)

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if given.get("pace") and not given.get("hold"):
            self.add_error("pace", "It goes with a calendar in which its runs wait.")
        return given


def to_calendars(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `calendars` of the API; empty if the form names none."""
    # In the order in which the form offers them, whatever the order in the task is.
    said: dict[str, Any] = {
        name: sorted(data[name]) for name in LISTS if data.get(name)
    }
    if not said:
        return {}
    if data.get("on_excluded", SKIP) not in (SKIP, ""):
        said["on_excluded"] = data["on_excluded"]
    if data.get("pace"):
        said["pace"] = data["pace"]
    return {"calendars": said}


def calendar_values(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the form for a task as the API shows it."""
    shown = task.get("calendars") or {}
    return {name: shown[name] for name in FIELDS if shown.get(name)}
