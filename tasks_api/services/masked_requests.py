"""The request of a task or of a run as people may see it: all of it but the secrets."""

from __future__ import annotations

from typing import NamedTuple

from accounts import audit, url_credentials
from tasks_api.domain.request_options import (
    JSON_TYPE,
    METHODS_WITHOUT_BODY,
    comparable,
    parse_options,
)
from tasks_api.domain.specs import RequestOptions, Surface
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Run, Task

# Shown instead of a value that is a secret, or that each attempt makes anew.
MASKED = audit.REDACTED


class Header(NamedTuple):
    name: str
    value: str


class MaskedRequest(NamedTuple):
    """A request without its secrets."""

    method: str
    # Empty if the request goes to a queue, to a channel or to the callback URL.
    url: str
    queue: str
    # Those that the client of the task gave, and the one that tells what the body is.
    headers: list[Header]
    body: str


def mask_request(task: Task, *, callback_url: str = "") -> MaskedRequest:
    """Return the request of a task; a task without a target of its own has the given one."""
    if _is_unaddressed(task):
        return MaskedRequest("", "", task.queue, [], task.body)
    url = url_credentials.mask(task.url or callback_url)
    return MaskedRequest(task.method, url, "", _merge_headers(task, []), _body_of(task))


def mask_headers_of_run(run: Run) -> list[Header]:
    """Return all headers of the request that the task of a run has now."""
    if _is_unaddressed(run.task):
        return []
    return _merge_headers(run.task, _added_headers(run))


def _is_unaddressed(task: Task) -> bool:
    return bool(task.queue) or task.surface == Surface.NOTICES


def _body_of(task: Task) -> str:
    return "" if task.method in METHODS_WITHOUT_BODY else task.body


def _options_of(task: Task) -> RequestOptions:
    return parse_options(task.request) if task.request else RequestOptions()


def _merge_headers(task: Task, added: list[Header]) -> list[Header]:
    """Return the headers, in which those of the task replace others of the same names."""
    options = _options_of(task)
    content_type = options.content_type or JSON_TYPE
    typed = [Header("Content-Type", content_type)] if _body_of(task) else []
    own = [Header(name, MASKED) for name in options.header_names]
    replaced = {comparable(each.name) for each in own}
    kept = [each for each in typed + added if comparable(each.name) not in replaced]
    return kept + own


def _added_headers(run: Run) -> list[Header]:
    run_id = str(run.pk)
    headers = [
        Header("User-Agent", "scheduler-service/1.0"),
        Header("webhook-id", run_id),
        Header("webhook-timestamp", MASKED),
        Header("webhook-signature", MASKED),
        Header("Idempotency-Key", run_id),
        Header("X-Scheduled-For", format_timestamp(run.slot or run.scheduled_for)),
    ]
    if _options_of(run.task).deadline:
        headers.append(Header("X-Scheduler-Run-Token", MASKED))
    if run.backfill_id:
        headers.append(Header("X-Scheduler-Backfill", str(run.backfill_id)))
    elif run.redrive_of:
        headers.append(Header("X-Scheduler-Redrive-Of", str(run.redrive_of)))
    if run.task.surface == Surface.TIMERS:
        headers.append(Header("Scheduler-Secret", MASKED))
    return headers
