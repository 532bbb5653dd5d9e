"""The forms of a lane: its limits, and a pause."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from console.runs.forms import MomentField
from scheduler_service.db import clock
from tasks_api.domain import lane_limits as limits
from tasks_api.domain.lanes import PERIODS
from tasks_api.services.pausing import MAX_REASON_LENGTH

# The path of the form of a new lane has its place.
TAKEN_NAME = "new"
PERIOD_CHOICES = [
    (name, f"{'an' if name == 'hour' else 'a'} {name}") for name in PERIODS
]


def _number(label: str, most: int, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label, min_value=1, max_value=most, required=False, help_text=help_text
    )


class LaneForm(forms.Form):
    """The columns of a lane; an empty field is no limit."""

    name = forms.CharField(
        max_length=limits.MAX_NAME_LENGTH,
        help_text="Tasks name it, such as <code>crm</code>.",
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
    )
    host = forms.CharField(
        required=False,
        max_length=limits.MAX_HOST_LENGTH,
        help_text="Such as <code>api.example.com</code>, with the port if URLs name one. "
        "Tasks with this host in their URLs belong to the lane, unless they name another. "
        "Empty: only tasks that name the lane.",
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
    )
    rate_limit = _number("Requests that may start", limits.MAX_RATE, "Empty: any number.")  # fmt: skip
    rate_per = forms.ChoiceField(label="Within", choices=PERIOD_CHOICES, required=False)
    burst = _number(
        "Of which at the same moment",
        limits.MAX_RATE,
        "Empty: one. A burst makes the steady rate lower.",
    )
    concurrency = _number(
        "Requests under way at once", limits.MAX_CONCURRENCY, "Empty: any number."
    )
    breaker_after = _number(
        "Failures in a row that open the breaker",
        limits.MAX_BREAKER_AFTER,
        "Empty: there is no breaker.",
    )
    breaker_for = _number(
        "Seconds for which nothing starts then",
        limits.MAX_BREAKER_FOR,
        f"Empty: {limits.DEFAULT_BREAKER_FOR}. After them, one request is tried.",
    )

    def __init__(self, *args: Any, is_new: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_new:
            del self.fields["name"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not limits.is_name(name):
            raise ValidationError(f"It {limits.NAME_RULE}.")
        if name == TAKEN_NAME:
            raise ValidationError("Choose another name: this one has no page.")
        return name

    def clean_host(self) -> str:
        host: str = self.cleaned_data["host"]
        if host and not limits.is_host(host):
            raise ValidationError(f"It {limits.HOST_RULE}.")
        return host.lower()

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        limit, burst = given.get("rate_limit"), given.get("burst")
        if "rate_limit" in given and burst and burst > (limit or 1):
            text = "It is more than may start." if limit else "It needs a rate."
            self.add_error("burst", text)
        has_no_breaker = given.get("breaker_after", 0) is None
        if has_no_breaker and given.get("breaker_for"):
            self.add_error("breaker_after", "Say after how many failures.")
        return given

    @property
    def columns(self) -> dict[str, Any]:
        given = self.cleaned_data
        has_rate = given["rate_limit"] is not None
        return {
            **given,
            "rate_per": (has_rate and given["rate_per"]) or "second",
            "burst": given["burst"] or 1,
            "breaker_for": given["breaker_for"] or limits.DEFAULT_BREAKER_FOR,
        }


def initial_of(lane: Any) -> dict[str, Any]:
    """The values of the form of a lane. What says nothing stays empty."""
    return {
        "host": lane.host,
        "rate_limit": lane.rate_limit,
        "rate_per": lane.rate_per,
        "burst": lane.burst if lane.burst > 1 else None,
        "concurrency": lane.concurrency,
        "breaker_after": lane.breaker_after,
        "breaker_for": lane.breaker_for if lane.breaker_after is not None else None,
    }


class PauseForm(forms.Form):
    reason = forms.CharField(
        label="Why",
        required=False,
        max_length=MAX_REASON_LENGTH,
        help_text="Whoever looks at the lane reads it.",
    )
    until = MomentField(
        label="Until (UTC)",
        required=False,
        help_text="The lane resumes by itself then. Empty: when somebody resumes it.",
    )

    def clean_until(self) -> datetime | None:
        until: datetime | None = self.cleaned_data["until"]
        if until is not None and until <= clock.now():
            raise ValidationError("That has passed.")
        return until
