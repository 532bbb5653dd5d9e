"""The results of requests about the tasks of a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduler_client.task_models import PlanStep


@dataclass(frozen=True)
class NamedTask:
    """A task by its id and its name, which may be empty."""

    id: str
    name: str


@dataclass(frozen=True)
class SelectedTasks:
    """The tasks of a filter that were paused or resumed, or with `dry_run` would be.

    `tasks` are the first 100 of them. `has_more` asks for the same request again.
    """

    hash: str
    dry_run: bool
    count: int
    has_more: bool
    tasks: list[NamedTask]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class ChangePlan:
    """The changes of the tasks of a filter, done or, with `dry_run`, planned.

    `count` is the number of the tasks, and `changed` of those that differ. `steps` are
    the changes of the first 100 of these.
    """

    hash: str
    dry_run: bool
    count: int
    changed: int
    steps: list[PlanStep]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
