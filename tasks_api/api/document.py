"""The OpenAPI document, made once in each process, and the page that shows it."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import condition, require_safe
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class _Document(NamedTuple):
    plain: bytes
    zipped: bytes
    etag: str


@cache
def _document() -> _Document:
    """It depends on the code and nothing else, and takes some tenths of a second."""
    generator = SpectacularAPIView.generator_class()
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # the package has no types
    plain = OpenApiJsonRenderer().render(schema, renderer_context={})
    digest = hashlib.sha256(plain).hexdigest()[:32]
    # Weak, because it is that of the zipped one too.
    return _Document(plain, gzip.compress(plain, mtime=0), f'W/"{digest}"')


def _etag(request: HttpRequest) -> str:
    return _document().etag


@require_safe
@condition(etag_func=_etag)
def openapi(request: HttpRequest) -> HttpResponse:
    document = _document()
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    content = document.zipped if zipped else document.plain
    response = HttpResponse(content, content_type=OpenApiJsonRenderer.media_type)
    if zipped:
        response["Content-Encoding"] = "gzip"
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


class Docs(SpectacularSwaggerSplitView):
    """Its script has a URL of its own, so that pages need not allow any other."""

    url_name = "openapi"
    # A page has no answer to OPTIONS, so there is no metadata to make one from.
    metadata_class = None
