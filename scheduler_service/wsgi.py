"""The WSGI application, which also reads bodies that come in chunks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")

_django = get_wsgi_application()


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    # Django takes a body without Content-Length for empty. gunicorn knows where it
    # ends; one byte over the limit is enough for Django to refuse it.
    if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
