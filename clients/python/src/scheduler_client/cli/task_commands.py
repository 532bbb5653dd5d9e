"""The commands for tasks: `scheduler tasks …`, `next` and `preview`."""

from __future__ import annotations

from functools import partial
from typing import Any

from scheduler_client import formatting
from scheduler_client.cli.arguments import (
    add_fire_time_count,
    add_idempotency_key,
    add_limit,
    add_task,
    find_task_id,
    parse_positive_int,
)
from scheduler_client.cli.bulk_commands import (
    add_filter,
    add_parts,
    change_fields,
    change_many,
    read_filter,
    read_parts,
    require_tasks_or_filter,
)
from scheduler_client.cli.commands import CommandGroup, Options, UsageError
from scheduler_client.cli.output import page_size, succeed, take_limit
from scheduler_client.cli.task_fields import (
    add_task_fields,
    read_task,
    read_task_or_list,
)
from scheduler_client.client import Client
from scheduler_client.encoding import omit_none
from scheduler_client.models import FireTimes, Task
from scheduler_client.task_files import with_task_type


def add_commands(root: CommandGroup) -> None:
    group = root.add_group("tasks", "list, create, change and remove tasks")
    _add_reading_commands(group)
    _add_writing_commands(group)
    parser = root.add_command(
        "next", show_next_fire_times, "show the next fire times of a task"
    )
    add_task(parser)
    add_fire_time_count(parser)
    parser = root.add_command(
        "preview", preview_task, "show the fire times that a new task would have"
    )
    add_task_fields(parser)
    add_fire_time_count(parser)
    parser.add_argument(
        "--from", dest="since", metavar="DATETIME", help="time of the preview"
    )
    text = "ask the lane of the task about so many such tasks"
    parser.add_argument("--copies", type=parse_positive_int, metavar="N", help=text)


def _add_reading_commands(group: CommandGroup) -> None:
    parser = group.add_command("list", list_tasks, "list tasks")
    parser.add_argument("--name", help="only the task with this name")
    parser.add_argument("--name-prefix", help="only tasks whose names begin so")
    parser.add_argument("--host", help="only tasks that call this host")
    parser.add_argument("--lane", help="only tasks of this lane")
    text = "only tasks with this text in name, host, queue or tag"
    parser.add_argument("--search", metavar="TEXT", help=text)
    parser.add_argument("--tag", action="append", default=[], help="may be repeated")
    parser.add_argument("--state", choices=["active", "paused"])
    parser.add_argument("--type", choices=["periodic", "one_time"])
    parser.add_argument("--owner", help="a user, or all; for administrators")
    add_limit(parser, 1000)
    add_task(group.add_command("show", show_task, "show a task"))


def _add_writing_commands(group: CommandGroup) -> None:
    text = "create a task, or all tasks of a list in a file"
    parser = group.add_command("create", create_tasks, text)
    add_task_fields(parser)
    add_idempotency_key(parser)
    text = "create the task with a name, or replace it"
    parser = group.add_command("put", put_task, text)
    parser.add_argument("name", help="name of the task")
    add_task_fields(parser, has_name=False)
    text = "change some fields of a task, or of the tasks of a filter"
    parser = group.add_command("change", change_task, text)
    text = "id or name of the task; without it, --tag and --name are filters"
    parser.add_argument("task", nargs="?", help=text)
    add_task_fields(parser)
    add_filter(parser, has_tag=False)
    add_parts(parser)
    parser.add_argument("--if-match", help="ETag that the task must have")
    for name, command, text in (
        ("remove", remove_tasks, "remove tasks"),
        ("pause", pause_tasks, "pause tasks, all of them or none"),
        ("resume", resume_tasks, "resume tasks, all of them or none"),
    ):
        parser = group.add_command(name, command, text)
        count = "+" if name == "remove" else "*"
        parser.add_argument("tasks", nargs=count, metavar="task", help="ids or names")
        if name != "remove":
            add_filter(parser)
            text = "fire times of the pause that they make up for"
            choices = ["none", "latest", "all"]
            parser.add_argument("--catch-up", choices=choices, help=text)
        if name == "pause":
            parser.add_argument("--reason", help="text that the tasks show")
            text = "when they resume by themselves, in ISO 8601"
            parser.add_argument("--until", metavar="DATETIME", help=text)
    text = "say what a task did, does or will do at a moment, and why"
    parser = group.add_command("why", show_why, text)
    add_task(parser)
    parser.add_argument("--at", metavar="DATETIME", help="in ISO 8601; default: now")
    parser = group.add_command("run", run_task, "run a task now, beside its schedule")
    add_task(parser)
    add_idempotency_key(parser)


def list_tasks(client: Client, options: Options) -> int:
    found = client.list_tasks(
        name=options.name,
        name_prefix=options.name_prefix,
        host=options.host,
        search=options.search,
        lane=options.lane,
        tags=options.tag,
        state=options.state,
        task_type=options.type,
        owner=options.owner,
        page_size=page_size(options),
    )
    tasks = take_limit(options, found)
    data = [task.raw for task in tasks]
    return succeed(options, data, *formatting.format_tasks(tasks))


def show_task(client: Client, options: Options) -> int:
    task = client.get_task(find_task_id(client, options.task))
    return _print_task(options, task)


def create_tasks(client: Client, options: Options) -> int:
    fields = read_task_or_list(options)
    if isinstance(fields, list):
        tasks = [with_task_type(task) for task in fields]
        ids = client.create_tasks(tasks, key=options.key)
        return succeed(options, {"ids": ids}, *ids)
    created = client.create_task(with_task_type(fields), key=options.key)
    return succeed(options, {"id": created.id, "etag": created.etag}, created.id)


def put_task(client: Client, options: Options) -> int:
    fields = with_task_type(read_task(options))
    task = client.put_task_by_name(options.name, fields)
    return succeed(options, task.raw, task.id)


def change_task(client: Client, options: Options) -> int:
    changes = read_task(options)
    if options.task is None:
        return _change_tasks(client, options, changes)
    if read_filter(options) or read_parts(options) or options.plan:
        raise UsageError("These options go with a filter instead of a task")
    task_id = find_task_id(client, options.task)
    task = client.change_task(task_id, changes, if_match=options.if_match)
    return _print_task(options, task)


def _change_tasks(client: Client, options: Options, fields: dict[str, Any]) -> int:
    """Change the tasks of a filter; --tag and --name belong to it here."""
    changes = {**fields, **read_parts(options)}
    named = {"tag": changes.pop("tags", None), "name": changes.pop("name", None)}
    wanted = {**omit_none(named), **read_filter(options)}
    if not wanted or not changes or options.if_match:
        raise UsageError("Give a task, or a filter such as --tag and what to change")
    return change_fields(client, options, wanted, changes)


def remove_tasks(client: Client, options: Options) -> int:
    for task in options.tasks:
        client.remove_task(find_task_id(client, task))
    text = f"{len(options.tasks)} removed"
    return succeed(options, {"removed": options.tasks}, text)


def pause_tasks(client: Client, options: Options) -> int:
    wanted = require_tasks_or_filter(options)
    hold = {
        "reason": options.reason,
        "until": options.until,
        "catch_up": options.catch_up,
    }
    if wanted:
        change = partial(client.pause_many, wanted, **hold)
        return change_many(options, lambda dry_run: change(dry_run=dry_run), "paused")
    ids = [find_task_id(client, task) for task in options.tasks]
    client.pause_tasks(ids, **hold)
    return succeed(options, {"paused": options.tasks}, f"{len(options.tasks)} paused")


def resume_tasks(client: Client, options: Options) -> int:
    wanted = require_tasks_or_filter(options)
    if wanted:
        change = partial(client.resume_many, wanted, catch_up=options.catch_up)
        return change_many(options, lambda dry_run: change(dry_run=dry_run), "resumed")
    ids = [find_task_id(client, task) for task in options.tasks]
    client.resume_tasks(ids, catch_up=options.catch_up)
    text = f"{len(options.tasks)} resumed"
    return succeed(options, {"resumed": options.tasks}, text)


def run_task(client: Client, options: Options) -> int:
    run_id = client.run_task(find_task_id(client, options.task), key=options.key)
    return succeed(options, {"run_id": run_id}, run_id)


def show_why(client: Client, options: Options) -> int:
    why = client.why(find_task_id(client, options.task), options.at)
    return succeed(options, why.raw, *formatting.format_why(why))


def show_next_fire_times(client: Client, options: Options) -> int:
    task_id = find_task_id(client, options.task)
    return _print_fire_times(options, client.next_fire_times(task_id, options.n))


def preview_task(client: Client, options: Options) -> int:
    # A task needs a target, which does not change its fire times.
    task = {"url": "https://example.com/", **with_task_type(read_task(options))}
    if task.get("queue"):
        del task["url"]
    fire_times = client.preview_task(
        task, n=options.n, since=options.since, copies=options.copies
    )
    return _print_fire_times(options, fire_times)


def _print_task(options: Options, task: Task) -> int:
    lines = formatting.format_fields({**task.raw, "etag": task.etag})
    return succeed(options, task.raw, *lines)


def _print_fire_times(options: Options, fire_times: FireTimes) -> int:
    lines = formatting.format_fire_times(fire_times)
    return succeed(options, fire_times.raw, *lines)
