"""What an outcome means for a run, by the rules of its task."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import (
    GiveUp,
    Release,
    RetryAfter,
    Succeed,
    Verdict,
    judge,
    parse_retry_after,
)
from tasks_api.domain.specs import Backoff, RetryPolicy
from tasks_api.domain.states import Trouble

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = RetryPolicy((429, 503), min_delay=1, max_delay=60, conflict_delay=3)
PATIENT = RetryPolicy((429, 503), min_delay=1, max_delay=60)


def claimed_run(
    *, number: int = 1, expected: str = "", policy: RetryPolicy | Backoff | None = None
) -> ClaimedRun:
    some = UUID(int=1)
    return ClaimedRun(
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


def answered(status: int) -> HttpResult:
    return HttpResult(status, "", 5)


UNREACHABLE = HttpResult(None, "connection refused", 5)


@pytest.mark.parametrize(
    ("outcome", "expected", "verdict"),
    [
        (answered(200), "", Succeed()),
        (answered(399), "", Succeed()),
        (answered(400), "", GiveUp("HTTP 400")),
        (UNREACHABLE, "", GiveUp("connection refused")),
        (HttpResult(None, "", 0, was_sent=False), "", Release()),
        (answered(200), "200-300", Succeed()),
        (answered(300), "200-300", Succeed()),
        (answered(301), "200-300", GiveUp("HTTP 301")),
        (answered(199), "200-300", GiveUp("HTTP 199")),
        (answered(404), "404-404", Succeed()),
        (answered(204), "200,204,300-304", Succeed()),
        (answered(302), "200,204,300-304", Succeed()),
        (answered(201), "200,204,300-304", GiveUp("HTTP 201")),
        (answered(200), "404-404", GiveUp("HTTP 200")),
        (UNREACHABLE, "100-999", GiveUp("connection refused")),
    ],
)
def test_a_single_attempt_is_not_repeated(
    outcome: HttpResult, expected: str, verdict: Verdict
) -> None:
    assert judge(outcome, claimed_run(expected=expected), now=NOON) == verdict


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
def test_attempts_without_end(
    outcome: HttpResult, number: int, verdict: Verdict
) -> None:
    assert (
        judge(outcome, claimed_run(number=number, policy=POLICY), now=NOON) == verdict
    )


def test_a_conflict_ends_it_where_no_wait_is_given() -> None:
    assert judge(answered(409), claimed_run(policy=PATIENT), now=NOON) == GiveUp(
        "HTTP 409"
    )


LADDER = Backoff(max_attempts=6, min_delay=10, max_delay=3600, max_age=86_400)
# The request of run() was planned at midnight.
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599, None])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    outcome = UNREACHABLE if status is None else answered(status)

    assert isinstance(
        judge(outcome, claimed_run(policy=LADDER), now=MIDNIGHT), RetryAfter
    )


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 600])
def test_what_stays_is_not(status: int) -> None:
    found = judge(answered(status), claimed_run(policy=LADDER), now=MIDNIGHT)

    assert found == GiveUp(f"HTTP {status}")


def test_which_statuses_are_tried_again_is_for_the_task_to_say() -> None:
    policy = Backoff(statuses="404,410")

    for status in (404, 410):
        found = judge(answered(status), claimed_run(policy=policy), now=MIDNIGHT)
        assert isinstance(found, RetryAfter)
    found = judge(answered(503), claimed_run(policy=policy), now=MIDNIGHT)
    assert found == GiveUp("HTTP 503")


def test_a_target_that_is_gone_ends_the_task() -> None:
    found = judge(answered(410), claimed_run(policy=LADDER), now=MIDNIGHT)

    reason = "HTTP 410: the target is gone, so the task has ended"
    assert found == GiveUp(reason, ends_task=True)
    # Only where the task asked for a policy at all.
    assert judge(answered(410), claimed_run(), now=MIDNIGHT) == GiveUp("HTTP 410")


@given(
    number=st.integers(1, 184),
    shortest=st.floats(1, 1000),
    more=st.floats(0, 100_000),
    asked=st.integers(0, 10**9),
)
def test_a_delay_lies_where_the_policy_says(
    number: int, shortest: float, more: float, asked: int
) -> None:
    policy = Backoff(185, shortest, shortest + more, max_age=604_800)
    outcome = HttpResult(503, "", 5, retry_after=asked)

    found = judge(outcome, claimed_run(number=number, policy=policy), now=MIDNIGHT)

    assert isinstance(found, RetryAfter)
    assert policy.min_delay <= found.delay <= policy.max_delay
    longest = shortest * 4 ** min(number, 50)
    assert min(asked, policy.max_delay) <= found.delay <= max(asked, longest)


def test_delays_are_spread_over_all_that_is_allowed() -> None:
    verdicts = [
        judge(answered(503), claimed_run(number=2, policy=LADDER), now=MIDNIGHT)
        for _ in range(500)
    ]

    delays = [verdict.delay for verdict in verdicts if isinstance(verdict, RetryAfter)]
    assert len(delays) == 500
    assert 10 <= min(delays) < 25
    assert 145 < max(delays) <= 160


def test_attempts_come_to_an_end() -> None:
    last = claimed_run(number=6, policy=LADDER)

    found = judge(UNREACHABLE, last, now=MIDNIGHT)

    reason = "connection refused; that was attempt 6, the last one"
    assert found == GiveUp(reason)


def test_a_run_grows_too_old_to_be_tried_again() -> None:
    late = MIDNIGHT + timedelta(days=1) - timedelta(seconds=9)

    found = judge(answered(503), claimed_run(policy=LADDER), now=late)

    reason = "HTTP 503; a retry would be later than 86400 s"
    assert found == GiveUp(reason)


def test_a_target_may_want_no_retry() -> None:
    outcome = HttpResult(503, "", 5, no_retry=True)

    found = judge(outcome, claimed_run(policy=LADDER), now=MIDNIGHT)

    assert found == GiveUp("HTTP 503; the target asked for no retry")
    # The statuses of cron jobs know no such word.
    assert judge(outcome, claimed_run(policy=POLICY), now=MIDNIGHT) == RetryAfter(
        "HTTP 503", 1
    )


def unsent_outcome(trouble: Trouble, pause: float = 0.0) -> HttpResult:
    return HttpResult(None, "why", 0, was_sent=False, trouble=trouble, pause=pause)


def test_what_was_not_sent_goes_back_and_says_why() -> None:
    for trouble in (Trouble.SILENT_NAMES, Trouble.CROWDED):
        verdict = judge(
            unsent_outcome(trouble), claimed_run(), now=MIDNIGHT + timedelta(seconds=59)
        )
        assert isinstance(verdict, Release)
        assert verdict.reason == "Waits: why."
        assert 0 < verdict.delay <= 10

    patient = judge(unsent_outcome(Trouble.CROWDED, 25.0), claimed_run(), now=NOON)
    assert patient == Release(25.0, "Waits: why.")


def test_name_servers_that_stay_silent_are_a_failure_of_the_host() -> None:
    late = MIDNIGHT + timedelta(seconds=61)

    assert judge(
        unsent_outcome(Trouble.SILENT_NAMES), claimed_run(), now=late
    ) == GiveUp("why")
    tried_again = judge(
        unsent_outcome(Trouble.SILENT_NAMES), claimed_run(policy=LADDER), now=late
    )
    assert isinstance(tried_again, RetryAfter)


MONTH_LATER = "Tue, 22 Dec 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("86400", 86_400),
        ("0000000000000000000000007", 7),
        ("99999999999999999999", 999_999_999_999_999_999),
        ("9" * 16_000, 999_999_999_999_999_999),
        # The three forms of a date (RFC 9110, 5.6.7).
        (MONTH_LATER, 30 * 86_400),
        ("Tuesday, 22-Dec-26 12:00:00 GMT", 30 * 86_400),
        ("Tue Dec 22 12:00:00 2026", 30 * 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_606_951_999),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
        ("", 0),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("\u0665", 0),
        ("Fri, 99 Dec 2026 99:99:99 GMT", 0),
        ("x" * 100_000, 0),
    ],
)
def test_patience_is_asked_for_in_seconds_or_with_a_date(
    asked: str, seconds: int
) -> None:
    assert parse_retry_after(asked.encode(), b"", now=NOON) == seconds


def test_a_date_is_compared_with_the_clock_of_who_gave_it() -> None:
    an_hour_ahead = b"Sun, 22 Nov 2026 13:00:00 GMT"

    asked = parse_retry_after(b"Sun, 22 Nov 2026 13:00:30 GMT", an_hour_ahead, now=NOON)

    assert asked == 30


@pytest.mark.parametrize("asked", ["86400", "99999999999999999999"])
def test_the_patience_of_a_target_goes_up_to_the_longest_delay(asked: str) -> None:
    policy = Backoff(6, 10, max_delay=604_800, max_age=10**7)
    seconds = parse_retry_after(asked.encode(), b"", now=NOON)
    outcome = HttpResult(503, "", 5, retry_after=seconds)

    verdict = judge(outcome, claimed_run(policy=policy), now=MIDNIGHT)

    assert isinstance(verdict, RetryAfter)
    assert verdict.delay == min(seconds, 604_800)
