"""A part of a page that htmx fetches again and again, and swaps only if it has changed."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.shortcuts import render
from django.template.loader import render_to_string

from console.pages import MemberRequest

# The time between two polls, unless a part costs more.
POLL_SECONDS = 5


def render_live(
    request: MemberRequest,
    page: str,
    part: str,
    context: dict[str, Any],
    *,
    seconds: int = POLL_SECONDS,
) -> HttpResponse:
    """Render a page whose template shows `live`, or the part alone for htmx."""
    text = render_to_string(part, context, request)
    etag = f'"{sha256(text.encode()).hexdigest()[:20]}"'
    if request.htmx and request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified()
    live_context = {"part": text, "etag": etag, "seconds": seconds}
    live = render_to_string("console/_live.html", live_context, request)
    if request.htmx:
        return HttpResponse(live, headers={"ETag": etag})
    return render(request, page, {**context, "live": live})
