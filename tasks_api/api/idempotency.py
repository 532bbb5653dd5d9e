"""The `Idempotency-Key` header, for views that create: one key, one creation, one answer.

As draft-ietf-httpapi-idempotency-key-header has it. Without the header nothing is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import simplejson
from django.db import transaction
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.errors import FormatView
from tasks_api.api.json_codec import dumps
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.services import idempotency

IDEMPOTENCY_KEY = "Idempotency-Key"
# Of an answer, what says more than its body does.
STORED_HEADERS = ("Location", "ETag")

View = TypeVar("View", bound=Callable[..., Any])


def idempotent(view: View) -> View:
    """Answer a request with a known key as the first one was answered.

    Refusals are not remembered: what made nothing may be corrected under its key.
    """

    @wraps(view)
    def answer(self: FormatView, request: Request, **kwargs: Any) -> HttpResponse:
        if IDEMPOTENCY_KEY not in request.headers:
            response: HttpResponse = view(self, request, **kwargs)
            return response
        key, now = _read_key(request), clock.now()
        fingerprint = _fingerprint(request)
        with transaction.atomic():
            known = idempotency.find_answer(self.user, key, fingerprint, now=now)
            if known is not None:
                return _replay(known)
            made: Response = view(self, request, **kwargs)
            kept = _to_stored_answer(made)
            idempotency.store_answer(self.user, key, fingerprint, kept, now=now)
        return made

    return answer  # type: ignore[return-value]  # it takes and gives what the view does


def _read_key(request: Request) -> str:
    key = request.headers[IDEMPOTENCY_KEY]
    if not key.isprintable():
        raise InvalidTask(
            IDEMPOTENCY_KEY, f"Invalid value of {IDEMPOTENCY_KEY}. It is not printable"
        )
    return fields.client_name(IDEMPOTENCY_KEY, key)


def _fingerprint(request: Request) -> str:
    """Equal for requests that say the same to the same address."""
    text = simplejson.dumps(request.data, use_decimal=True, sort_keys=True)
    said = f"{request.method} {request.path.rstrip('/')} {text}"
    return hashlib.sha256(said.encode()).hexdigest()


def _to_stored_answer(response: Response) -> idempotency.StoredAnswer:
    body = b"" if response.data is None else dumps(response.data).encode()
    headers = {name: response[name] for name in STORED_HEADERS if name in response}
    return idempotency.StoredAnswer(response.status_code, headers, body)


def _replay(known: idempotency.StoredAnswer) -> HttpResponse:
    response = HttpResponse(
        known.body, status=known.status, content_type="application/json"
    )
    if not known.body:
        del response["Content-Type"]
    for name, value in known.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response
