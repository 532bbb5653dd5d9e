"""Serve the docs as a site at `/guide/`, if `make docs` has built it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponseNotFound
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path
from django.utils._os import safe_join
from django.views.decorators.http import require_safe
from django.views.static import serve

from scheduler_service.http.csp import CSP_HEADER, GUIDE_POLICY

NOT_BUILT = "The guide is not here: `make docs` builds it into var/site.\n"
NO_SUCH_PAGE = "The guide has no such page; its first page is /guide/.\n"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@require_safe
def guide(request: HttpRequest, page: str = "index.html") -> HttpResponseBase:
    site: Path = settings.GUIDE_DIR
    try:
        file = Path(safe_join(site, page))
        response = serve(request, page, document_root=str(site))
    except (Http404, SuspiciousFileOperation, ValueError):
        text = NO_SUCH_PAGE if site.is_dir() else NOT_BUILT
        return HttpResponseNotFound(text, content_type="text/plain")
    if file.suffix == ".html":
        response.headers[CSP_HEADER] = _policy_of(file)
    return response


def _policy_of(page: Path) -> str:
    """The policy of a page: no other inline scripts than those it was built with."""
    scripts = INLINE_SCRIPT.findall(page.read_bytes())
    digests = (base64.b64encode(hashlib.sha256(text).digest()) for text in scripts)
    hashes = (f"'sha256-{digest.decode()}'" for digest in digests)
    return GUIDE_POLICY.format(scripts=" ".join(["'self'", *hashes]))


def _to_first_page(request: HttpRequest) -> HttpResponseBase:
    # The links of the site are relative, so its first page needs the slash.
    return redirect("guide")


urlpatterns = [
    path("guide", _to_first_page),
    path("guide/", guide, name="guide"),
    path("guide/<path:page>", guide, name="guide-page"),
]
