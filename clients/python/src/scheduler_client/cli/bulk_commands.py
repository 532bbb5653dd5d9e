"""The commands for the tasks of a filter: `scheduler tasks pause --tag …` and others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from scheduler_client import formatting
from scheduler_client.bulk_models import ChangePlan, SelectedTasks
from scheduler_client.cli.commands import ExitCode, Options, UsageError
from scheduler_client.cli.confirmation import confirm
from scheduler_client.cli.output import succeed
from scheduler_client.client import Client
from scheduler_client.encoding import omit_none

_FILTERS = {
    "--search": ("search", "tasks with this text in name, host, queue or tag"),
    "--name-prefix": ("name_prefix", "tasks whose names begin so"),
    "--host": ("host", "tasks that call this host"),
    "--state": ("state", "tasks that are active, or paused"),
    "--type": ("task_type", "tasks that are periodic, or one_time"),
    "--owner": ("owner", "a user, or all; for administrators"),
}
_PREFIX = "filter."


def add_filter(parser: argparse.ArgumentParser, *, has_tag: bool = True) -> None:
    """Add the options of a filter; without `has_tag`, --tag is another option."""
    group = parser.add_argument_group("instead of tasks, the tasks of a filter")
    if has_tag:
        group.add_argument(
            "--tag", action="append", dest=f"{_PREFIX}tag", help="may be repeated"
        )
    for option, (name, text) in _FILTERS.items():
        group.add_argument(option, dest=_PREFIX + name, help=text)
    group.add_argument("--plan", action="store_true", help="only show what it does")


def add_parts(parser: argparse.ArgumentParser) -> None:
    """Add the options that change a part of what each task of a filter has."""
    group = parser.add_argument_group("changes of the tasks of a filter")
    text = '"NAME: VALUE" replaces one header, and "NAME:" removes it; may be repeated'
    group.add_argument("--set-header", action="append", default=[], help=text)
    group.add_argument("--add-tag", action="append", help="tag to add")
    group.add_argument("--remove-tag", action="append", help="tag to remove")
    group.add_argument("--url-host", help="host that replaces the one in the URL")
    group.add_argument("--yes", action="store_true", help="do not ask")


def read_filter(options: Options) -> dict[str, Any]:
    return {
        dest.removeprefix(_PREFIX): value
        for dest, value in vars(options).items()
        if dest.startswith(_PREFIX) and value is not None
    }


def read_parts(options: Options) -> dict[str, Any]:
    headers = dict(_parse_header(text) for text in options.set_header)
    return omit_none(
        {
            "set_headers": headers or None,
            "add_tags": options.add_tag,
            "remove_tags": options.remove_tag,
            "url_host": options.url_host,
        }
    )


def _parse_header(text: str) -> tuple[str, str | None]:
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError("--set-header takes a name and a value: 'X-Key: value'")
    return name.strip(), value.strip() or None


def require_tasks_or_filter(options: Options) -> dict[str, Any]:
    """The filter of a command; empty if tasks are given. Raises UsageError for both."""
    wanted = read_filter(options)
    if bool(options.tasks) == bool(wanted):
        raise UsageError("Give tasks by id or name, or a filter such as --tag")
    if options.tasks and options.plan:
        raise UsageError("--plan goes with a filter")
    return wanted


def change_many(
    options: Options, change: Callable[[bool], SelectedTasks], done: str
) -> int:
    """Pause or resume the tasks of a filter, call by call; `change` takes `dry_run`."""
    if options.plan:
        plan = change(True)
        return succeed(options, plan.raw, *formatting.format_selected(plan))
    count = 0
    while True:
        found = change(False)
        count += found.count
        if not found.has_more:
            return succeed(options, {done: count}, f"{count} {done}")


def change_fields(
    client: Client, options: Options, wanted: dict[str, Any], changes: dict[str, Any]
) -> int:
    """Change the tasks of a filter as the plan says, which the user has seen."""
    plan = client.plan_change(wanted, changes)
    if options.plan or not plan.changed:
        return _print_plan(options, plan)
    if not options.yes and not confirm(options, formatting.format_change_plan(plan)):
        return ExitCode.REFUSED
    return _print_plan(options, client.change_tasks(wanted, changes, plan=plan))


def _print_plan(options: Options, plan: ChangePlan) -> int:
    return succeed(options, plan.raw, *formatting.format_change_plan(plan))
