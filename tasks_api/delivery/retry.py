"""What we conclude from what happened on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from tasks_api.delivery.request import Outcome

FIRST_FAILURE = 400


@dataclass(frozen=True)
class Succeed:
    pass


@dataclass(frozen=True)
class GiveUp:
    reason: str


@dataclass(frozen=True)
class Release:
    """Nothing was sent: the run goes back, as if this worker had never held it."""


Verdict = Succeed | GiveUp | Release


def judge(outcome: Outcome) -> Verdict:
    """A connection error or a status of 400 and above is a failure, and final."""
    if not outcome.was_sent:
        return Release()
    if outcome.status_code is None:
        return GiveUp(outcome.error)
    if outcome.status_code >= FIRST_FAILURE:
        return GiveUp(f"HTTP {outcome.status_code}")
    return Succeed()
