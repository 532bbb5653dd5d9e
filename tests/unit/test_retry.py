"""What an outcome means for a run, by the rules of its task."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.delivery.retry import (
    GiveUp,
    Release,
    RetryAfter,
    Succeed,
    Verdict,
    judge,
)
from tasks_api.specs import RetryPolicy

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = RetryPolicy((429, 503), min_delay=1, max_delay=60, conflict_delay=3)
PATIENT = RetryPolicy((429, 503), min_delay=1, max_delay=60)


def run(
    *, number: int = 1, expected: str = "", policy: RetryPolicy | None = None
) -> Claimed:
    some = UUID(int=1)
    return Claimed(
        run_id=some,
        task_id=some,
        tenant_id=1,
        scheduled_for=datetime(2026, 11, 22, tzinfo=UTC),
        number=number,
        method="POST",
        url="http://example.com/",
        body="{}",
        lease=some,
        expected_status=expected,
        retry=json.dumps(asdict(policy)) if policy else "",
    )


def answered(status: int) -> Outcome:
    return Outcome(status, "", 5)


UNREACHABLE = Outcome(None, "connection refused", 5)


@pytest.mark.parametrize(
    ("outcome", "expected", "verdict"),
    [
        (answered(200), "", Succeed()),
        (answered(399), "", Succeed()),
        (answered(400), "", GiveUp("HTTP 400")),
        (UNREACHABLE, "", GiveUp("connection refused")),
        (Outcome(None, "", 0, was_sent=False), "", Release()),
        (answered(200), "200-300", Succeed()),
        (answered(300), "200-300", Succeed()),
        (answered(301), "200-300", GiveUp("HTTP 301")),
        (answered(199), "200-300", GiveUp("HTTP 199")),
        (answered(404), "404-404", Succeed()),
        (answered(200), "404-404", GiveUp("HTTP 200")),
        (UNREACHABLE, "100-999", GiveUp("connection refused")),
    ],
)
def test_one_attempt(outcome: Outcome, expected: str, verdict: Verdict) -> None:
    assert judge(outcome, run(expected=expected), now=NOON) == verdict


@pytest.mark.parametrize(
    ("outcome", "number", "verdict"),
    [
        (answered(200), 1, Succeed()),
        (answered(503), 1, RetryAfter("HTTP 503", 1)),
        (answered(429), 2, RetryAfter("HTTP 429", 2)),
        (answered(503), 6, RetryAfter("HTTP 503", 32)),
        (answered(503), 7, RetryAfter("HTTP 503", 60)),
        # Still the same after years.
        (answered(503), 1_000_000, RetryAfter("HTTP 503", 60)),
        (UNREACHABLE, 1, RetryAfter("connection refused", 1)),
        (answered(409), 9, RetryAfter("HTTP 409", 3)),
        (answered(500), 1, GiveUp("HTTP 500")),
        (answered(404), 1, GiveUp("HTTP 404")),
    ],
)
def test_attempts_without_end(outcome: Outcome, number: int, verdict: Verdict) -> None:
    assert judge(outcome, run(number=number, policy=POLICY), now=NOON) == verdict


def test_a_conflict_ends_it_where_no_wait_is_given() -> None:
    assert judge(answered(409), run(policy=PATIENT), now=NOON) == GiveUp("HTTP 409")
