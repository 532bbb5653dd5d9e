"""The query string of the list of tasks: scope, filters and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import Q
from rest_framework.exceptions import PermissionDenied

from accounts.models import User
from tasks_api.api import fields
from tasks_api.api.tasks.parsing import MAX_TAGS
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import Surface
from tasks_api.services import listing

# Tasks in one response, unless the client asks for fewer.
MAX_PAGE_SIZE = 1000
# The most outcomes of each task in a list.
MAX_OUTCOMES = 50
STATES = {"active": False, "paused": True}


def read_scope(query: Mapping[str, str], user: User) -> listing.TaskScope:
    """The caller's own tasks, or those of `owner`, for administrators of the tenant."""
    assert user.tenant_id is not None
    if "owner" not in query:
        return listing.TaskScope(user.tenant_id, (user.pk,), Surface.TASKS)
    if not user.reaches_tenant:
        raise PermissionDenied(
            "The tasks of others take an administrator's token of scope admin"
        )
    users = User.objects.filter(tenant=user.tenant_id)
    if (name := fields.id_parameter(query, "owner")) != "all":
        users = users.filter(Q(name=name) | Q(username=name))
    ids = tuple(users.order_by("pk").values_list("pk", flat=True))
    return listing.TaskScope(user.tenant_id, ids, Surface.TASKS)


def read_filters(query: Mapping[str, str], tags: Sequence[str]) -> listing.TaskFilters:
    """The filters of a query string. Raises InvalidTask naming the parameter."""
    search, host = _text(query, "search"), _text(query, "host")
    return listing.TaskFilters(
        name=_text(query, "name"),
        name_prefix=_text(query, "name_prefix"),
        host=host and host.lower(),
        search=search and search.lower(),
        lane=_text(query, "lane"),
        tags=_wanted_tags(tags),
        is_paused=_choice(query, "state", STATES),
        is_one_time=_choice(
            query, "task_type", {"one_time": True, "periodic": False, "interval": False}
        ),
        created_from=fields.optional_moment(query, "created_after"),
        created_to=fields.optional_moment(query, "created_before"),
        next_run_from=fields.optional_moment(query, "next_run_after"),
        next_run_to=fields.optional_moment(query, "next_run_before"),
    )


def _text(query: Mapping[str, str], name: str) -> str | None:
    return fields.id_parameter(query, name) if name in query else None


def _wanted_tags(tags: Sequence[str]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS:
        raise InvalidTask("tag", f"No task has more than {MAX_TAGS} tags")
    return tuple(
        dict.fromkeys(fields.id_parameter({"tag": tag}, "tag") for tag in tags)
    )


def _choice(
    query: Mapping[str, str], name: str, choices: Mapping[str, bool]
) -> bool | None:
    if name not in query:
        return None
    if (text := query[name].strip().lower()) in choices:
        return choices[text]
    raise InvalidTask(
        name, f"Invalid value of {name}. Value should be {' or '.join(choices)}"
    )


def read_outcome_count(query: Mapping[str, str]) -> int:
    """The number of last outcomes that each task is to show; 0 for none."""
    count = fields.whole_number_parameter(query, "outcomes", 0, minimum=0)
    if count > MAX_OUTCOMES:
        text = f"Invalid value of outcomes. Value should be at most {MAX_OUTCOMES}"
        raise InvalidTask("outcomes", text)
    return count


def read_cursor(text: str) -> UUID | None:
    """The task after which a page begins; None for the first page."""
    try:
        return UUID(hex=text) if text else None
    except ValueError:
        raise InvalidTask(
            "cursor", "Invalid value of cursor. Value should be a next_cursor"
        ) from None
