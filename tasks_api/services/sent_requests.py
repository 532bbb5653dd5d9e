"""The request of a run as people may see it: all of it but the secrets."""

from __future__ import annotations

from typing import NamedTuple

from accounts import url_credentials
from tasks_api.domain.request_options import comparable, parse_options
from tasks_api.domain.specs import RequestOptions, Surface
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Run

# Shown instead of a value that is a secret, or that each attempt makes anew.
MASKED = "…"


class Header(NamedTuple):
    name: str
    value: str


class SentRequest(NamedTuple):
    """A request without its secrets; without a URL it goes to a queue or a channel."""

    method: str
    url: str
    queue: str
    headers: list[Header]
    body: str
    # The headers that the client of the task gave, or that tell what the body is.
    own_headers: list[Header]


def describe_request(run: Run) -> SentRequest:
    """Return the request that the task of a run has now."""
    task = run.task
    if task.queue or task.surface == Surface.NOTICES:
        return SentRequest("", "", task.queue, [], task.body, [])
    options = parse_options(task.request) if task.request else RequestOptions()
    body = "" if task.method in ("GET", "HEAD") else task.body
    own = [Header(name, MASKED) for name in options.header_names]
    content_type = options.content_type or "application/json"
    typed = [Header("Content-Type", content_type)] if body else []
    added = _replace(typed + _added_headers(run, options), by=own)
    url = url_credentials.mask(task.url or task.tenant.callback_url)
    own_headers = _replace(typed, by=own)
    return SentRequest(task.method, url, "", added, body, own_headers)


def _added_headers(run: Run, options: RequestOptions) -> list[Header]:
    run_id = str(run.pk)
    headers = [
        Header("User-Agent", "scheduler-service/1.0"),
        Header("webhook-id", run_id),
        Header("webhook-timestamp", MASKED),
        Header("webhook-signature", MASKED),
        Header("Idempotency-Key", run_id),
        Header("X-Scheduled-For", format_timestamp(run.slot or run.scheduled_for)),
    ]
    if options.deadline:
        headers.append(Header("X-Scheduler-Run-Token", MASKED))
    if run.redrive_of:
        headers.append(Header("X-Scheduler-Redrive-Of", str(run.redrive_of)))
    if run.task.surface == Surface.TIMERS:
        headers.append(Header("Scheduler-Secret", MASKED))
    return headers


def _replace(headers: list[Header], *, by: list[Header]) -> list[Header]:
    """Return the headers with those of the same names replaced, as a request has them."""
    names = {comparable(each.name) for each in by}
    return [each for each in headers if comparable(each.name) not in names] + by
