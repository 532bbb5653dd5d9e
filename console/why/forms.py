"""The moment that a person asks about, by the clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from tasks_api.domain.cron import instant_of
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError

NO_MOMENT = "It should be a date and a time, such as 2030-12-05T08:00."
FIRST_YEAR, LAST_YEAR = 1970, 9998


class WhyForm(forms.Form):
    """A moment, with an offset or by the clock of the zone; without one it is now."""

    at = forms.CharField(
        label="Moment",
        required=False,
        max_length=40,
        # To the second. Without the type, a browser takes the same text.
        widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1}),
    )
    zone = forms.CharField(
        label="Time zone",
        required=False,
        max_length=64,
        widget=forms.TextInput(
            attrs={"list": "zones", "spellcheck": "false", "autocomplete": "off"}
        ),
    )

    def __init__(self, given: Any, *, zone: str) -> None:
        super().__init__(
            {"at": given.get("at", ""), "zone": given.get("zone") or zone},
            auto_id="why-%s",
        )
        # What the clock of the zone does at the moment, if that is odd.
        self.note = ""

    @property
    def zone_name(self) -> str:
        return str(self.cleaned_data["zone"])

    @property
    def moment(self) -> datetime | None:
        found: datetime | None = self.cleaned_data["at"]
        return found

    @property
    def question(self) -> str:
        text = str(self.data.get("at", ""))
        if not text or self.errors:
            return "Why not now?"
        return f"Why at {text.replace('T', ' ')}, {self.zone_name}?"

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field, error)
        widget = self.fields["at"].widget
        if field == "at" and isinstance(widget, forms.TextInput):
            # A browser shows no text in an input for moments.
            widget.input_type = "text"

    def clean_zone(self) -> str:
        try:
            return known_zone(self.cleaned_data["zone"])
        except ScheduleError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        text, zone = self.cleaned_data.get("at"), self.cleaned_data.get("zone")
        if zone is not None and text is not None:
            try:
                self.cleaned_data["at"] = self._read(text, zone) if text else None
            except (ValueError, OverflowError):
                self.add_error("at", NO_MOMENT)
        return self.cleaned_data

    def _read(self, text: str, zone: str) -> datetime:
        read = datetime.fromisoformat(text.upper())
        if not FIRST_YEAR <= read.year <= LAST_YEAR:
            raise ValueError
        if read.tzinfo is None:
            self.note = _note(read, zone)
            moment = instant_of(read, zone)
        else:
            moment = read.astimezone(UTC)
        self._show(moment, zone)
        return moment

    def _show(self, moment: datetime, zone: str) -> None:
        """Show the moment by the clock of the zone, as the input of a browser takes it."""
        local = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, microsecond=0)
        self.data = {"at": local.isoformat(), "zone": zone}


def _note(local: datetime, zone: str) -> str:
    """Say what the clock does at a local time that it skips, or shows twice."""
    first, second = (local.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return ""
    came_back = first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    shown = f"{local:%H:%M}"
    if came_back != local:
        return (
            f"The clock of {zone} skips {shown} then. This is about the end of the gap."
        )
    return (
        f"The clock of {zone} shows {shown} twice then. This is about the first time."
    )
