"""The WSGI application, and what Django leaves to its server: bodies in chunks."""

from __future__ import annotations

import gc
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
# Keep the garbage collector from what is there for good, and from hurrying: what a
# request makes has no cycles, and is gone when it is answered.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    # Django takes a body without Content-Length for empty. The server knows
    # where it ends; one byte over the limit is enough for Django to refuse it.
    if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
