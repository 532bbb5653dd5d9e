"""The URLs of the settings."""

from __future__ import annotations

from console.routes import ID, route
from console.settings import members

# A name may have a slash in it.
MEMBER = r"app/settings/members/(?P<name>.+)"

_member_urls = [
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
]

urlpatterns = [*_member_urls]
