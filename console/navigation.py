"""The places of the navigation, and what every template knows about the service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest

from accounts.access.permissions import scope_of_role
from accounts.models import Role, Scope, User
from console.links import page_of


class Place(NamedTuple):
    """A link to the page of a route, which may be for administrators only.

    The pages of `parts` belong to it, too, though their paths are not below its own.
    """

    title: str
    route: str
    for_admins: bool = False
    parts: tuple[str, ...] = ()


# A place whose route does not exist is left out.
PLACES = (
    Place("Overview", "console-overview"),
    Place("Tasks", "console-tasks"),
    Place("Runs", "console-runs"),
    Place("Calendar", "console-calendar"),
    Place("Queues", "console-queues"),
    Place("Lanes", "console-lanes"),
    Place(
        "Settings",
        "console-settings",
        parts=("console-calendars", "console-new-calendar"),
    ),
)
SETTINGS_PLACES = (
    Place("Members", "console-members", for_admins=True),
    Place("Tokens", "console-tokens"),
    Place("Signing secrets", "console-signing-secrets", for_admins=True),
    Place("Notifications", "console-notifications"),
    Place("Calendars", "console-calendars", parts=("console-new-calendar",)),
    Place("Usage", "console-usage"),
    Place("Audit log", "console-audit", for_admins=True),
    Place("Retention", "console-retention"),
)


class Link(NamedTuple):
    title: str
    url: str
    is_current: bool


def navigation(request: HttpRequest) -> dict[str, Any]:
    """A context processor. The links are made only where a template asks for them."""
    user = getattr(request, "user", None)
    is_member = isinstance(user, User) and user.tenant_id is not None
    return {
        "places": lambda: _links(PLACES, request) if is_member else [],
        "settings_places": lambda: _links(SETTINGS_PLACES, request),
        "may_write": is_member and scope_of_role(user).covers(Scope.WRITE),
        "sends_mail": settings.SENDS_MAIL,
        "has_single_sign_on": bool(settings.OIDC_ISSUER),
        "single_sign_on_name": settings.OIDC_NAME,
    }


def first_settings_page(user: User) -> str | None:
    """The URL of the first page of the settings that the user may open."""
    open_places = (p for p in SETTINGS_PLACES if not p.for_admins or _is_admin(user))
    urls = (page_of(place.route) for place in open_places)
    return next(filter(None, urls), None)


def _links(places: Sequence[Place], request: HttpRequest) -> Sequence[Link]:
    return list(_iterate_links(places, request))


def _iterate_links(places: Sequence[Place], request: HttpRequest) -> Iterator[Link]:
    current = f"{request.path.rstrip('/')}/"
    urls = [(place, page_of(place.route)) for place in places]
    matching = {place: _best_match(place, current) for place in places}
    # The overview is at the beginning of all other paths.
    longest = max(matching.values(), default="")
    for place, url in urls:
        if url and (not place.for_admins or _is_admin(request.user)):
            is_current = bool(longest) and matching[place] == longest
            yield Link(place.title, url, is_current=is_current)


def _best_match(place: Place, current: str) -> str:
    """Return the longest path of a place with which the current one begins."""
    urls = filter(None, map(page_of, (place.route, *place.parts)))
    paths = (f"{url.rstrip('/')}/" for url in urls)
    return max((path for path in paths if current.startswith(path)), default="")


def _is_admin(user: object) -> bool:
    return isinstance(user, User) and user.role == Role.ADMIN
