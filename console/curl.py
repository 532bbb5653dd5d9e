"""A request as a command to copy, which shows no secret."""

from __future__ import annotations

from shlex import quote

from tasks_api.services.masked_requests import MaskedRequest

# A command with a longer body reads it from a file.
MAX_BODY = 8 * 1024


def curl_command(request: MaskedRequest) -> str:
    """Return the command; empty if the request has no URL."""
    if not request.url:
        return ""
    parts = [f"curl -X {quote(request.method)} {quote(request.url)}"]
    parts += [f"-H {quote(f'{name}: {value}')}" for name, value in request.headers]
    if len(request.body) > MAX_BODY:
        parts.append("--data-binary @body")
    elif request.body:
        parts.append(f"--data-raw {quote(request.body)}")
    return " \\\n  ".join(parts)
