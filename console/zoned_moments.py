"""Forms with moments by the clock of a zone, which the form names itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from tasks_api.domain.cron import instant_of
from tasks_api.domain.cron_text import known_zone, zone_names
from tasks_api.domain.exceptions import ScheduleError


class MomentInput(forms.DateTimeInput):
    """A local time to the second, as browsers edit it."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1"})

    def format_value(self, value: Any) -> str | None:
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat(timespec="seconds")
        return value or None


class LocalMomentField(forms.CharField):
    """A local time; with an offset, the moment that it says."""

    widget = MomentInput

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise forms.ValidationError(
                "It should be a date and a time, such as 2026-12-24 18:00."
            ) from None
        if not 1970 <= moment.year < 9999:
            raise forms.ValidationError("Choose a later or an earlier year.")
        return moment


class ZonedForm(forms.Form):
    """A form whose local times are by the clock of its time zone."""

    timezone = forms.CharField(
        label="Time zone of these times",
        required=False,
        widget=forms.TextInput(attrs={"list": "zones", "autocomplete": "off"}),
    )

    def clean_timezone(self) -> str:
        try:
            return known_zone(self.cleaned_data["timezone"] or "UTC")
        except ScheduleError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        zone = self.cleaned_data.get("timezone", "UTC")
        for name, field in self.fields.items():
            local = self.cleaned_data.get(name)
            if isinstance(field, LocalMomentField) and local is not None:
                self.cleaned_data[name] = to_instant(local, zone)
        return self.cleaned_data

    @property
    def zones(self) -> list[str]:
        return sorted(zone_names())


def to_instant(moment: datetime, zone: str) -> datetime:
    """Return the first instant of a local time; of one with an offset, that instant."""
    return moment.astimezone(UTC) if moment.tzinfo else instant_of(moment, zone)


def to_local(moment: datetime, zone: str) -> datetime:
    """Return a moment to the second, as the clock of a zone shows it."""
    return moment.astimezone(ZoneInfo(zone)).replace(microsecond=0, tzinfo=None)
