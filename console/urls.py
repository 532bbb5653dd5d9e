"""The URLs of all pages."""

from __future__ import annotations

from console import account, login_urls, overview
from console.routes import route
from console.settings import urls as settings_urls
from console import account, login_urls, members
from console.calendar import urls as calendar_urls
from console.overview import urls as overview_urls
from console import account, login_urls, members, overview
from console.queues import urls as queues_urls
from console.routes import ID, route
from console.runs import urls as runs_urls
from console.task_forms import urls as task_form_urls
from console.tasks import urls as tasks_urls

# A name may have a slash in it.
MEMBER = r"app/settings/members/(?P<name>.+)"

urlpatterns = [
    *login_urls.urlpatterns,
    *overview_urls.urlpatterns,
    *calendar_urls.urlpatterns,
    *tasks_urls.urlpatterns,
    route("app", overview.overview, "console-overview"),
    route("app/first-call", overview.issue_trial_token, "console-first-call"),
    route("app/settings", account.settings_page, "console-settings"),
    *settings_urls.urlpatterns,
    route("app/settings/members", members.members, "console-members"),
    route(f"{MEMBER}/invite", members.invite_member, "console-invite-member"),
    route(f"{MEMBER}/role", members.change_role, "console-change-role"),
    route(f"{MEMBER}/deactivate", members.deactivate, "console-deactivate"),
    route(f"{MEMBER}/activate", members.activate, "console-activate"),
    route(
        rf"app/settings/invitations/(?P<invitation_id>{ID})/revoke",
        members.revoke,
        "console-revoke-invitation",
    ),
    *queues_urls.urlpatterns,
    *runs_urls.urlpatterns,
    *task_form_urls.urlpatterns,
]
