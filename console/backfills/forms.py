"""What a person says of a backfill."""

from __future__ import annotations

from typing import Any

from django import forms

from console.zoned_moments import LocalMomentField, ZonedForm
from tasks_api.domain.backfills import DEFAULT_PACE, Pace, Which, parse_pace
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.services.backfill import WantedSlots

WHICH = [
    (Which.MISSED.value, "Those that no run has delivered, also in a pause"),
    (Which.ALL.value, "All of the present schedule, whatever became of them"),
]
# The field of the form for a field of the API.
_FORM_NAMES = {"from": "since", "to": "until"}


class BackfillForm(ZonedForm):
    since = LocalMomentField(
        label="From", required=False, help_text="Empty: a day before the end."
    )
    until = LocalMomentField(
        label="To, not included", required=False, help_text="Empty: now."
    )
    which = forms.ChoiceField(
        label="Fire times", choices=WHICH, widget=forms.RadioSelect
    )
    pace = forms.CharField(
        required=False,
        max_length=20,
        help_text="Runs a second, minute, hour or day, such as <code>20/minute</code>; at "
        "most <code>100/second</code>.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    may_overlap = forms.BooleanField(
        label="Its runs may overlap, also if the task forbids it", required=False
    )
    # What the plan that the page has shown is called.
    plan = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    field_order = ("since", "until", "timezone", "which", "pace", "may_overlap")

    def clean_pace(self) -> Pace:
        text = self.cleaned_data["pace"].strip()
        try:
            return parse_pace(text) if text else DEFAULT_PACE
        except ValueError as error:
            raise forms.ValidationError(f"It {error}.") from None

    @property
    def wanted(self) -> WantedSlots:
        given = self.cleaned_data
        return WantedSlots(
            given["since"],
            given["until"],
            Which(given["which"]),
            given["pace"],
            given["may_overlap"],
        )

    def refuse(self, error: InvalidTask) -> None:
        """Say beside a field why there is no such backfill."""
        name = _FORM_NAMES.get(error.field, error.field)
        self.add_error(name if name in self.fields else None, f"{error}.")

    def show_plan(self, fingerprint: str) -> None:
        data: Any = self.data
        data = data.copy()
        data["plan"] = fingerprint
        self.data = data
