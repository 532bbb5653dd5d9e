"""The commands for files of tasks: `scheduler plan` and `apply`."""

from __future__ import annotations

import argparse
import os

from scheduler_client import formatting
from scheduler_client.cli.commands import CommandGroup, ExitCode, Options
from scheduler_client.cli.confirmation import confirm
from scheduler_client.cli.output import print_result, succeed
from scheduler_client.cli.task_fields import to_path
from scheduler_client.client import Client
from scheduler_client.models import Plan
from scheduler_client.task_files import TaskFile, load_task_file


def add_commands(root: CommandGroup) -> None:
    text = "show what a file of tasks would change"
    parser = root.add_command("plan", plan_file, text)
    _add_file(parser)
    parser.add_argument("--check", action="store_true", help="exit with 4 on changes")
    text = "make the tasks with a tag equal to those of a file"
    parser = root.add_command("apply", apply_file, text)
    _add_file(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--plan", help="apply exactly this plan, or nothing")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", required=True, help="YAML or JSON; - is stdin")


def plan_file(client: Client, options: Options) -> int:
    file = _load_file(options)
    plan = client.plan_tasks(file.tag, file.tasks)
    lines = [*formatting.format_plan(plan)]
    if plan.has_changes:
        lines.append(f"To do just this: scheduler apply -f … --plan {plan.plan}")
    print_result(options, plan.raw, lines)
    if options.check and plan.has_changes:
        return ExitCode.DIFFERENCE_FOUND
    return ExitCode.SUCCESS


def apply_file(client: Client, options: Options) -> int:
    file = _load_file(options)
    fingerprint = options.plan
    if fingerprint is None:
        plan = client.plan_tasks(file.tag, file.tasks)
        if not plan.has_changes:
            return _print_plan(options, plan)
        if not options.yes and not confirm(options, formatting.format_plan(plan)):
            return ExitCode.REFUSED
        fingerprint = plan.plan
    applied = client.apply_tasks(file.tag, file.tasks, plan=fingerprint)
    return _print_plan(options, applied)


def _load_file(options: Options) -> TaskFile:
    return load_task_file(to_path(options.file), os.environ)


def _print_plan(options: Options, plan: Plan) -> int:
    return succeed(options, plan.raw, *formatting.format_plan(plan))
