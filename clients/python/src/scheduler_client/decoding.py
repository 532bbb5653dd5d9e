"""Decode JSON objects of the service into the dataclasses of `models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from scheduler_client.models import (
    Account,
    AccountDifference,
    AdmissionVerdict,
    Attempt,
    FireTime,
    FireTimes,
    Forecast,
    ForecastSeries,
    HourBalance,
    HourStats,
    Plan,
    PlanStep,
    QuotaUse,
    ReasonCount,
    Run,
    ScheduleChange,
    Stats,
    Task,
    TenantAccount,
    TokenUsage,
    Usage,
)
from scheduler_client.why_models import (
    AttemptOutcome,
    Evidence,
    PlannedFireTime,
    RunOutcome,
    ScheduleAuthor,
    ScheduleInForce,
    Why,
    WhyCause,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Model = TypeVar("Model", bound="DataclassInstance")

# JSON names that are keywords in Python, or that say too little there.
_PYTHON_NAMES = {"from": "since", "to": "until", "pass": "which_pass"}


def decode(model: type[Model], data: Mapping[str, Any], **decoded: Any) -> Model:
    """Decode an object. `decoded` holds fields that are decoded already.

    A field that this version of the client does not know is found in `raw` only.
    """
    known = {field.name for field in fields(model)}
    named = {_PYTHON_NAMES.get(name, name): value for name, value in data.items()}
    timestamps = _timestamp_fields(model)
    values = {
        name: decode_timestamp(value) if name in timestamps else value
        for name, value in named.items()
        if name in known
    }
    if "raw" in known:
        values["raw"] = dict(data)
    return model(**{**values, **decoded})


@cache
def _timestamp_fields(model: type) -> frozenset[str]:
    """Return the fields whose type is `datetime` or `datetime | None`."""
    hints = get_type_hints(model)
    return frozenset(
        name for name, hint in hints.items() if datetime in (hint, *get_args(hint))
    )


def decode_timestamp(value: object) -> datetime | None:
    """Decode a timestamp as an aware datetime in UTC; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def decode_task(data: Mapping[str, Any], etag: str = "") -> Task:
    return decode(Task, data, tags=tuple(data.get("tags") or ()), etag=etag)


def decode_fire_times(data: Mapping[str, Any]) -> FireTimes:
    fire_times = [decode(FireTime, item) for item in data["fire_times"]]
    return decode(
        FireTimes, data, fire_times=fire_times, admission=_decode_admission(data)
    )


def _decode_admission(data: Mapping[str, Any]) -> list[AdmissionVerdict]:
    return [decode(AdmissionVerdict, item) for item in data.get("admission", ())]


def decode_plan(data: Mapping[str, Any]) -> Plan:
    steps = [decode(PlanStep, item) for item in data["tasks"]]
    return decode(Plan, data, steps=steps, admission=_decode_admission(data))


def decode_run(data: Mapping[str, Any]) -> Run:
    attempts = tuple(decode(Attempt, item) for item in data.get("attempts", ()))
    return decode(Run, data, attempts=attempts)


def decode_account(data: Mapping[str, Any]) -> Account:
    return decode(
        Account,
        data,
        differences=[decode(AccountDifference, item) for item in data["differences"]],
        changes=[decode(ScheduleChange, item) for item in data["changes"]],
    )


def decode_why(data: Mapping[str, Any]) -> Why:
    return decode(
        Why,
        data,
        cause=decode(WhyCause, data["cause"]),
        held_by=[decode(WhyCause, item) for item in data["held_by"]],
        schedule=_decode_schedule_in_force(data["schedule"]),
        run=_decode_optional(RunOutcome, data["run"]),
        attempts=[decode(AttemptOutcome, item) for item in data["attempts"]],
        planned=_decode_optional(PlannedFireTime, data["planned"]),
        previous=_decode_optional(PlannedFireTime, data["previous"]),
        next=_decode_optional(PlannedFireTime, data["next"]),
        evidence=[decode(Evidence, item) for item in data["evidence"]],
    )


def _decode_schedule_in_force(data: Mapping[str, Any] | None) -> ScheduleInForce | None:
    if data is None:
        return None
    author = _decode_optional(ScheduleAuthor, data["written_by"])
    return decode(ScheduleInForce, data, written_by=author)


def _decode_optional(
    model: type[Model], data: Mapping[str, Any] | None
) -> Model | None:
    return None if data is None else decode(model, data)


def decode_stats(data: Mapping[str, Any]) -> Stats:
    return decode(
        Stats,
        data,
        hours=[decode(HourStats, item) for item in data["hours"]],
        reasons=[decode(ReasonCount, item) for item in data["reasons"]],
    )


def decode_tenant_account(data: Mapping[str, Any]) -> TenantAccount:
    differences = [decode(HourBalance, item) for item in data["differences"]]
    return decode(TenantAccount, data, differences=differences)


def decode_usage(data: Mapping[str, Any]) -> Usage:
    of_token = data.get("token")
    token = of_token and decode(TokenUsage, of_token, quotas=_decode_quotas(of_token))
    return decode(Usage, data, quotas=_decode_quotas(data), token=token)


def _decode_quotas(data: Mapping[str, Any]) -> list[QuotaUse]:
    return [decode(QuotaUse, item) for item in data["quotas"]]


def decode_forecast(data: Mapping[str, Any]) -> Forecast:
    series = [decode(ForecastSeries, item) for item in data.get("series", ())]
    return decode(Forecast, data, series=series)
