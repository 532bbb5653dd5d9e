"""Build the parser of the command line."""

from __future__ import annotations

import argparse
import os

from scheduler_client.cli import (
    access_commands,
    channel_commands,
    lane_commands,
    listen_command,
    plan_commands,
    run_commands,
    task_commands,
)
from scheduler_client.cli.commands import CommandGroup

DESCRIPTION = "Manage the tasks, runs and users of a scheduler service."
EXIT_CODES = (
    "Exit codes: 0 success; 1 the service refused the request; 2 invalid arguments or an "
    "invalid file; 3 no response; 4 changes with plan --check, or an account whose "
    "balance is not zero."
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scheduler",
        allow_abbrev=False,
        description=DESCRIPTION,
        epilog=EXIT_CODES,
    )
    root = CommandGroup(parser, _build_common_parser())
    task_commands.add_commands(root)
    run_commands.add_commands(root)
    plan_commands.add_commands(root)
    access_commands.add_commands(root)
    lane_commands.add_commands(root)
    channel_commands.add_commands(root)
    listen_command.add_command(root)
    return parser


def _build_common_parser() -> argparse.ArgumentParser:
    """Build the parser of the options that every command has."""
    common = argparse.ArgumentParser(add_help=False)
    # They are named after the server: --url, --timeout and --retries are a task's fields.
    common.add_argument(
        "--server",
        default=os.environ.get("SCHEDULER_URL"),
        metavar="URL",
        help="address of the service; or set SCHEDULER_URL",
    )
    common.add_argument(
        "--token",
        default=os.environ.get("SCHEDULER_TOKEN"),
        help="better set SCHEDULER_TOKEN: other users can see arguments",
    )
    common.add_argument(
        "--server-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for a response of the service (default: 30)",
    )
    common.add_argument(
        "--server-retries",
        type=int,
        default=4,
        metavar="N",
        help="how often to send a request to the service again (default: 4)",
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    return common
