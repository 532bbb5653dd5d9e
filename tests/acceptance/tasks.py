"""Creates tasks that fire soon, and checks what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from tests.acceptance.harness import Harness
from tests.receiver import ReceivedRequest

SECOND = timedelta(seconds=1)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + seconds * SECOND


def create_task_at(harness: Harness, url: str, at: datetime) -> str:
    return harness.create_task(
        task_type="one_time", run_datetime=at.isoformat(), url=url
    )


def create_tasks_at(harness: Harness, tasks: Iterable[tuple[str, datetime]]) -> None:
    """Create many with one request: none is due before the last one is stored."""
    bodies = [
        {"task_type": "one_time", "run_datetime": at.isoformat(), "url": url}
        for url, at in tasks
    ]
    answer = harness.api.post(f"{harness.url}/tasks/bulk/", json=bodies, timeout=20)
    assert answer.status_code == 201, answer.text


def create_periodic_task(
    harness: Harness, url: str, start: datetime, *, every: int, times: int
) -> str:
    end = start + (times - 1) * every * SECOND
    return harness.create_task(
        task_type="periodic",
        frequency=every,
        start_datetime=start.isoformat(),
        end_datetime=end.isoformat(),
        url=url,
    )


def count_requests_by_run(requests: list[ReceivedRequest]) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in requests)


def late_seconds(requests: list[ReceivedRequest]) -> list[float]:
    """How late each request arrived; less than 0: early."""
    return [
        request.at
        - datetime.fromisoformat(request.headers["x-scheduled-for"]).timestamp()
        for request in requests
    ]


def early_requests(requests: list[ReceivedRequest]) -> list[ReceivedRequest]:
    """The requests that arrived before their fire time."""
    return [
        request
        for request, late in zip(requests, late_seconds(requests), strict=True)
        if late < 0
    ]


def is_all_done(harness: Harness) -> bool:
    # In this order: a task that fires no more may have just become a run.
    return (
        not harness.query(
            "SELECT 1 FROM tasks_api_task WHERE next_fire_at IS NOT NULL LIMIT 1"
        )
        and not harness.count_unfinished_runs()
    )
