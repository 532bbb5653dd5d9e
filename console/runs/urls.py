"""The URLs of the pages of runs."""

from __future__ import annotations

from console.routes import ID, change, route
from console.runs import many, views

urlpatterns = [
    route("app/runs", views.run_list, "console-runs"),
    change("app/runs/redrive", many.redrive_runs, "console-redrive-runs"),
    change("app/runs/cancel", many.cancel_runs, "console-cancel-runs"),
    route(rf"app/runs/(?P<run_id>{ID})", views.run_detail, "console-run"),
    change(
        rf"app/runs/(?P<run_id>{ID})/redrive", views.redrive_run, "console-redrive-run"
    ),
    change(
        rf"app/runs/(?P<run_id>{ID})/cancel", views.cancel_run, "console-cancel-run"
    ),
]
