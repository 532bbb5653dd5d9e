"""The OpenAPI document, generated once per process, and the page that shows it."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import condition, require_safe
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from tasks_api.api.ops.openapi import PATHS
from tasks_api.api.products import PRODUCT_DESCRIPTIONS, Product

# Credentials in the order of the document: the most common one first.
SCHEMES = ("bearer", "basic", "runToken", "sharedSecret")
INTRODUCTION = """\
The service stores HTTP requests and sends each of them on time, once or periodically.

**Credentials.** Send your token as `Authorization: Bearer <token>`: choose *Authorize* and \
paste it into the first box. HTTP Basic with the token as the password works as well. Timers \
take the tenant's secret in `Scheduler-Secret`, and targets at long work the token of their run.

**Errors.** A response with a status of 400 or more has a message that names the field. Tasks, \
runs and access wrap it as `{"error": {"message": "…"}}`; the older formats send it as their \
clients expect it. A request that fails changes nothing.

**Repeated requests.** Every operation that creates takes an `Idempotency-Key`, so you can \
safely repeat a request if you have lost its response.
"""
# The meaning of these statuses is the same for all operations.
ERROR_DESCRIPTIONS = {
    "400": "The request is invalid: a value is missing, unknown or wrong.",
    "401": "The credentials are missing or wrong, or have expired.",
    "403": "The credentials do not allow the operation.",
    "413": "The request body is too large.",
    "422": "An earlier, different request had the same `Idempotency-Key`.",
    "500": "The service has failed. The request has changed nothing.",
}


class _Document(NamedTuple):
    plain: bytes
    zipped: bytes
    etag: str


@cache
def _document() -> _Document:
    """The document depends on the code alone, and takes some tenths of a second to generate."""
    generator = SpectacularAPIView.generator_class()
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # the package has no types
    plain = OpenApiJsonRenderer().render(schema, renderer_context={})
    digest = hashlib.sha256(plain).hexdigest()[:32]
    # Weak, because the compressed document has the same one.
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
    # The page does not respond to OPTIONS, which would need metadata.
    metadata_class = None


# Changes to the document that the package generates.


def arrange_document(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add the introduction and the groups, and put the most common credential first."""
    result["info"]["description"] = INTRODUCTION
    result["tags"] = [
        {"name": product.value, "description": PRODUCT_DESCRIPTIONS[product]}
        for product in Product
    ]
    result["paths"] |= PATHS
    schemes = result["components"]["securitySchemes"]
    result["components"]["securitySchemes"] = {
        name: schemes[name] for name in sorted(schemes, key=SCHEMES.index)
    }
    result["security"] = [{SCHEMES[0]: []}]
    for path in result["paths"].values():
        for operation in path.values():
            operation["security"].sort(key=_scheme_rank)
            for status, answer in operation["responses"].items():
                answer["description"] = ERROR_DESCRIPTIONS.get(
                    status, answer["description"]
                )
    return result


def _scheme_rank(requirement: dict[str, Any]) -> int:
    return min(map(SCHEMES.index, requirement))
