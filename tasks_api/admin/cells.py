"""The page of all cells, for operators who may view tasks."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from accounts import directory
from accounts.directory import DirectoryError
from tasks_api.monitoring import cells


def cells_view(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("tasks_api.view_task"):
        raise PermissionDenied
    context = {**admin.site.each_context(request), "title": "Cells", **_content()}
    return TemplateResponse(request, "admin/tasks_api/cells.html", context)


def _content() -> dict[str, object]:
    if not directory.is_used():
        return {"problem": "DIRECTORY_URL is not set: this is the only cell."}
    try:
        return {"found": cells.load_overview()}
    except DirectoryError as error:
        return {"problem": str(error)}
