"""The WSGI application, and what Django leaves to its server: chunks and HEAD."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")

_django = get_wsgi_application()
# Django would import all views at the first request, and let its client wait.
_ = get_resolver().url_patterns


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    # Django takes a body without Content-Length for empty. gunicorn knows where it
    # ends; one byte over the limit is enough for Django to refuse it.
    if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    response = _django(environ, start_response)
    if environ["REQUEST_METHOD"] == "HEAD":
        # The server must not send it (RFC 9110), and warns about each one it drops.
        if close := getattr(response, "close", None):
            close()
        return []
    return response
