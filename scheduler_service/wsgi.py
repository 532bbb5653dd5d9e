"""The WSGI application, which also accepts bodies in chunks."""

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
# Otherwise Django imports all views at the first request, and its client waits.
_ = get_resolver().url_patterns
# Exclude from garbage collection what is loaded, and collect rarely: the objects of a
# request have no cycles, and are freed with the response.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    # Django takes a body without Content-Length for empty. The server knows where it
    # ends. One byte over the limit is enough for Django to refuse it.
    if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ["wsgi.input"] = BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
