"""Lanes, and whether tasks fit into them, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Lane:
    """The limits that tasks of a target keep together, and what the lane does now.

    `state` has how many runs wait and are running, and whether and why nothing starts.
    """

    name: str
    created_at: datetime
    state: Mapping[str, Any]
    host: str | None = None
    rate: Mapping[str, Any] | None = None
    concurrency: int | None = None
    breaker: Mapping[str, int] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class AdmissionVerdict:
    """Whether tasks fit the rate of their lane. `message` says why they do not.

    `latest_start` and `allowed` are seconds from a fire time, without its spread, to the
    start of its run. `smallest_spread` is a spread that would fit, or None.
    """

    lane: str
    rate: Mapping[str, int]
    fits: bool
    tasks: int
    latest_start: int
    allowed: int | None = None
    at: datetime | None = None
    smallest_spread: int | None = None
    message: str = ""
