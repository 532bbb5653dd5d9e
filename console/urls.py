"""The URLs of all pages."""

from __future__ import annotations

from console import account, login_urls, overview
from console.routes import route
from console.settings import urls as settings_urls
from console import account, login_urls, members
from console.calendar import urls as calendar_urls
from console.overview import urls as overview_urls
from console.routes import ID, route

# A name may have a slash in it.
MEMBER = r"app/settings/members/(?P<name>.+)"

urlpatterns = [
    *login_urls.urlpatterns,
    *overview_urls.urlpatterns,
    *calendar_urls.urlpatterns,
    route("app/settings", account.settings_page, "console-settings"),
    *settings_urls.urlpatterns,
]
