"""Measures the pages for people: how long the server takes for each, and its size."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import requests

from tests.benchmarks.figures import Figures, percentile
from tests.benchmarks.harness import BenchmarkHarness, benchmark_harness
from tests.benchmarks.overview import store_runs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOSTS = 50
# The tasks that the runs belong to.
RECURRING = 300
CALLS = 12
PASSWORD = "a quiet river bends"
# The pages by what they are called in the results; {soon} is an hour that is to come.
PAGES = {
    "overview": "/app/",
    "calendar": "/app/calendar/",
    "calendar by host": "/app/calendar/?by=host",
    "calendar of a day": "/app/calendar/?view=day",
    "tasks of an hour": "/app/calendar/tasks/?from={soon}",
    "tasks": "/app/tasks/",
    "runs": "/app/runs/",
    "failed runs": "/app/runs/?state=failed",
    "queues": "/app/queues/",
    "usage": "/app/settings/usage/",
    "audit log": "/app/settings/audit/",
}


def measure_pages(
    stored: int = 60_000, runs: int = 200_000, *, rounds: int
) -> Iterator[Figures]:
    """Pages of an administrator, with {stored} one-time tasks of the coming day and
    {runs} runs of the last one."""
    with benchmark_harness() as harness:
        harness.store_tasks(
            stored,
            first=datetime.now(UTC) + HOUR,
            spread=DAY - 2 * HOUR,
            urls=harness.target_urls(HOSTS),
        )
        harness.store_tasks(
            RECURRING, first=datetime.now(UTC) + HOUR, spread=HOUR, every=HOUR
        )
        store_runs(harness, runs)
        browser = _log_in(harness)
        for _ in range(rounds):
            yield _measure(harness, browser)


def _log_in(harness: BenchmarkHarness) -> requests.Session:
    """Follow the invitation of an administrator, as a person does."""
    link = harness.manage("invite", "--tenant", "Alpha", "--user", "boss")
    path = re.search(r"/invite/[\w-]+/?", link)
    assert path is not None, link
    browser = requests.Session()
    url = f"{harness.url}{path[0]}"
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', browser.get(url).text)
    assert token is not None
    form = {"csrfmiddlewaretoken": token[1], "password": PASSWORD}
    answer = browser.post(url, form, headers={"Referer": url})
    assert answer.status_code == 200, answer.status_code
    return browser


def _measure(harness: BenchmarkHarness, browser: requests.Session) -> Figures:
    soon = f"{datetime.now(UTC) + 3 * HOUR:%Y-%m-%dT%H:00:00Z}"
    found: Figures = {"refused": 0}
    for name, path in PAGES.items():
        url = f"{harness.url}{path.format(soon=soon)}"
        first = browser.get(url)
        if first.status_code != 200:
            found["refused"] += 1
            continue
        before = harness.read_usage()
        took = sorted(_time(browser, url) for _ in range(CALLS))
        cpu = harness.usage_since(before).cpu
        found |= {
            f"{name}: p50 ms": percentile(took, 0.5),
            f"{name}: CPU ms": (cpu["web"] + cpu["postgres"]) / CALLS * 1000,
            f"{name}: KiB": len(first.content) / 1024,
        }
    return found


def _time(browser: requests.Session, url: str) -> float:
    began = time.perf_counter()
    browser.get(url)
    return (time.perf_counter() - began) * 1000
