"""The URLs of backfills."""

from __future__ import annotations

from console.backfills import views
from console.routes import ID, change, route

_BACKFILL = rf"app/tasks/(?P<task_id>{ID})/backfill"
_MADE = rf"{_BACKFILL}/(?P<backfill_id>{ID})"

urlpatterns = [
    route(_BACKFILL, views.plan_backfill, "console-backfill"),
    route(_MADE, views.progress, "console-backfill-progress"),
    change(f"{_MADE}/cancel", views.cancel, "console-cancel-backfill"),
]
