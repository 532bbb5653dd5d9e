"""The URLs of all pages."""

from __future__ import annotations

from console import account, login_urls, overview
from console.routes import route
from console.settings import urls as settings_urls

urlpatterns = [
    *login_urls.urlpatterns,
    route("app", overview.overview, "console-overview"),
    route("app/first-call", overview.issue_trial_token, "console-first-call"),
    route("app/settings", account.settings_page, "console-settings"),
    *settings_urls.urlpatterns,
]
