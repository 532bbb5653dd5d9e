"""The URLs of all pages."""

from __future__ import annotations

from console import account, login_urls
from console.backfills import urls as backfill_urls
from console.calendar import urls as calendar_urls
from console.calendars import urls as calendars_urls
from console.lanes import urls as lanes_urls
from console.many_tasks import urls as many_tasks_urls
from console.overview import urls as overview_urls
from console.queues import urls as queues_urls
from console.routes import route
from console.runs import urls as runs_urls
from console.settings import urls as settings_urls
from console.task_forms import urls as task_form_urls
from console.tasks import urls as tasks_urls
from console.why import urls as why_urls

urlpatterns = [
    *login_urls.urlpatterns,
    *overview_urls.urlpatterns,
    *task_form_urls.urlpatterns,
    *tasks_urls.urlpatterns,
    *many_tasks_urls.urlpatterns,
    *why_urls.urlpatterns,
    *runs_urls.urlpatterns,
    *backfill_urls.urlpatterns,
    *calendar_urls.urlpatterns,
    *calendars_urls.urlpatterns,
    *queues_urls.urlpatterns,
    *lanes_urls.urlpatterns,
    route("app/settings", account.settings_page, "console-settings"),
    *settings_urls.urlpatterns,
]
