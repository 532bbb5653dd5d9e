"""The policies of a task read as sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from console.policy_words import policy_sentences
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import (
    Backoff,
    Misfire,
    Overlap,
    RequestOptions,
    RetryPolicy,
    Surface,
    TaskSpec,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOURLY = Interval(NOON, timedelta(hours=1))
PLAIN = TaskSpec(Surface.TASKS, "https://example.com/", HOURLY, "{}")


def test_a_plain_task_has_the_defaults() -> None:
    assert policy_sentences(PLAIN) == [
        "A status below 400 is a success.",
        "A run has one attempt.",
        "Its runs may overlap.",
        "After a downtime, the newest missed fire time runs.",
    ]


def test_a_task_that_waits_for_its_time_says_only_what_counts_for_it() -> None:
    once = replace(PLAIN, schedule=Once(NOON))

    assert len(policy_sentences(once)) == 2
    assert policy_sentences(replace(once, queue="mails")) == []


def test_every_policy_has_a_sentence() -> None:
    found = policy_sentences(
        replace(
            PLAIN,
            expected_status="200-299",
            overlap=Overlap.QUEUE_ONE,
            misfire=Misfire.ALL,
            catchup_window=3600,
            spread=90,
            retry=Backoff(),
            request=RequestOptions(timeout_seconds=120, deadline=3600),
            pause_after_failures=1,
            max_runs=2000,
            stop_on_success=True,
        )
    )

    assert found == [
        "A status of 200-299 is a success.",
        "A run has up to 6 attempts within 1 day, 10 seconds to 1 hour apart: after no "
        "answer, and after 408, 425, 429, 500-599.",
        "An answer may take 2 minutes.",
        "After a status of 202, the target has 1 hour to report the result.",
        "While a run is not over, one more waits, and others are skipped.",
        "After a downtime, up to 100 missed fire times run, at most 1 hour late.",
        "It fires up to 1 minute 30 seconds after its schedule, always as much.",
        "It is paused after a failed run.",
        "It ends after 2,000 runs of its schedule.",
        "It ends after the first run of its schedule that succeeds.",
    ]


def test_a_cron_job_is_tried_again_without_a_limit() -> None:
    retry = RetryPolicy((429, 503), 1, 60)

    assert policy_sentences(replace(PLAIN, retry=retry))[1] == (
        "A run is tried again, 1 second to 1 minute apart, until it succeeds: after no "
        "answer, and after 429, 503."
    )
