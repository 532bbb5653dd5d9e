"""The tasks, tags and hosts by which the calendar is divided, as people call them."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from console.calendar.load import Load
from console.calendar.query import CalendarQuery
from tasks_api.services.coming_tasks import titles_of
from tasks_api.services.forecast import Division


@dataclass(frozen=True)
class Label:
    """A task, a tag or a host, its coming fire times, and the calendar of it alone."""

    name: str
    count: int
    url: str


def labels_of(user: User, query: CalendarQuery, load: Load) -> list[Label]:
    """The labels with the most fire times, unless the calendar is of one of them."""
    if query.of:
        return []
    names = _names(user, query.by, [label for label, _ in load.labels])
    return [
        Label(names[label], count, query.with_(of=label).url)
        for label, count in load.labels
        if label in names and label
    ]


def name_of(user: User, query: CalendarQuery) -> str | None:
    """The name of the one label that the calendar is of; None if the user has none such."""
    return _names(user, query.by, [query.of]).get(query.of)


def _names(user: User, by: Division, labels: list[str]) -> dict[str, str]:
    if by is Division.TASK:
        return titles_of(user, [label for label in labels if label])
    return {label: label for label in labels}
