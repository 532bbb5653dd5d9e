"""The URLs of the overview."""

from __future__ import annotations

from console.overview import views
from console.routes import route

urlpatterns = [
    route("app", views.overview, "console-overview"),
    route("app/first-call", views.issue_trial_token, "console-first-call"),
]
