"""The `Idempotency-Key` header of views that create: one key creates once.

It follows draft-ietf-httpapi-idempotency-key-header. Without the header it does nothing.
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
# The headers of a response that are replayed.
STORED_HEADERS = ("Location", "ETag")

View = TypeVar("View", bound=Callable[..., Any])


def idempotent(view: View) -> View:
    """Respond to a request with a known key as to the first one.

    Errors are not stored: a request that created nothing may be corrected under its key.
    """

    @wraps(view)
    def respond(self: FormatView, request: Request, **kwargs: Any) -> HttpResponse:
        if IDEMPOTENCY_KEY not in request.headers:
            response: HttpResponse = view(self, request, **kwargs)
            return response
        key, now = _read_key(request), clock.now()
        fingerprint = _fingerprint(request)
        with transaction.atomic():
            stored = idempotency.find_answer(self.user, key, fingerprint, now=now)
            if stored is not None:
                return _replay(stored)
            created: Response = view(self, request, **kwargs)
            answer = _to_stored_answer(created)
            idempotency.store_answer(self.user, key, fingerprint, answer, now=now)
        return created

    return respond  # type: ignore[return-value]  # it takes and gives what the view does


def _read_key(request: Request) -> str:
    key = request.headers[IDEMPOTENCY_KEY]
    if not key.isprintable():
        raise InvalidTask(
            IDEMPOTENCY_KEY, f"Invalid value of {IDEMPOTENCY_KEY}. It is not printable"
        )
    return fields.client_name(IDEMPOTENCY_KEY, key)


def _fingerprint(request: Request) -> str:
    """A hash that is equal for requests with the same path and body."""
    text = simplejson.dumps(request.data, use_decimal=True, sort_keys=True)
    text_of_request = f"{request.method} {request.path.rstrip('/')} {text}"
    return hashlib.sha256(text_of_request.encode()).hexdigest()


def _to_stored_answer(response: Response) -> idempotency.StoredAnswer:
    body = b"" if response.data is None else dumps(response.data).encode()
    headers = {name: response[name] for name in STORED_HEADERS if name in response}
    return idempotency.StoredAnswer(response.status_code, headers, body)


def _replay(stored: idempotency.StoredAnswer) -> HttpResponse:
    response = HttpResponse(
        stored.body, status=stored.status, content_type="application/json"
    )
    if not stored.body:
        del response["Content-Type"]
    for name, value in stored.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response
