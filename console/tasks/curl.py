"""The request of a task as a command to copy, without its secrets."""

from __future__ import annotations

from shlex import quote

from tasks_api.services.task_details import TaskRequest

HIDDEN = "[redacted]"
# A longer body is left out.
MAX_BODY = 4_000


def curl_of(request: TaskRequest) -> str:
    """Return the command; empty if the request has no URL of its own."""
    if not request.url:
        return ""
    lines = [f"curl -X {request.method} {quote(request.url)}"]
    lines += [f"-H {quote(header)}" for header in _headers(request)]
    if request.body:
        is_long = len(request.body) > MAX_BODY
        lines.append("--data-binary @body" if is_long else f"-d {quote(request.body)}")
    return " \\\n  ".join(lines)


def _headers(request: TaskRequest) -> list[str]:
    typed = [f"Content-Type: {request.content_type}"] if request.content_type else []
    return typed + [f"{name}: {HIDDEN}" for name in request.header_names]
