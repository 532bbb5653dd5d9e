"""Read the fields of a task from options, from --data and from a file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler_client import documents, task_files
from scheduler_client.cli.arguments import parse_int, parse_positive_int
from scheduler_client.cli.commands import Options, UsageError

_DEST_PREFIX = "field."


def _parse_retries(text: str) -> dict[str, int]:
    return {"max_attempts": parse_int(text) + 1}


def _parse_spread(text: str) -> int | str:
    return text if text == "auto" else parse_int(text)


# The options for fields of a task. All other fields are set with --data or a file, which
# the client passes on without knowing them.
FIELD_OPTIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "--url": ("url", {"help": "URL that the task calls"}),
    "--queue": ("queue", {"help": "pull queue that the task delivers to"}),
    "--method": ("method", {"help": "HTTP method of the request"}),
    "--cron": ("cron", {"help": "cron expression"}),
    "--rrule": ("rrule", {"help": "recurrence rule of RFC 5545, with its DTSTART"}),
    "--timezone": ("timezone", {"help": "IANA time zone of the schedule"}),
    "--every": (
        "frequency",
        {
            "metavar": "SECONDS",
            "type": parse_positive_int,
            "help": "interval, from --start to --end if given",
        },
    ),
    "--at": ("run_datetime", {"metavar": "DATETIME", "help": "run once, at this time"}),
    "--start": ("start_datetime", {"metavar": "DATETIME", "help": "first fire time"}),
    "--end": ("end_datetime", {"metavar": "DATETIME", "help": "end of the schedule"}),
    "--tag": ("tags", {"action": "append", "help": "tag; may be repeated"}),
    "--timeout": (
        "timeout_seconds",
        {"metavar": "SECONDS", "type": int, "help": "time limit of a request"},
    ),
    "--retries": (
        "retry",
        {
            "metavar": "N",
            "type": _parse_retries,
            "help": "how often a failed request is sent again",
        },
    ),
    "--spread": (
        "spread",
        {
            "metavar": "SECONDS",
            "type": _parse_spread,
            "help": "window over which fire times are spread, or auto",
        },
    ),
    "--lane": ("lane", {"help": "lane whose limits the task keeps"}),
    "--name": ("name", {"help": "name of the task"}),
}


def add_task_fields(parser: argparse.ArgumentParser, *, has_name: bool = True) -> None:
    """Add the options for fields. Without `has_name`, the name is another argument."""
    parser.add_argument("-f", "--file", help="fields in YAML or JSON; - is stdin")
    parser.add_argument("-d", "--data", help="fields as a JSON object")
    for option, (field, settings) in FIELD_OPTIONS.items():
        if has_name or field != "name":
            word = option.removeprefix("--").upper()
            settings = {"metavar": word, **settings, "dest": _DEST_PREFIX + field}
            parser.add_argument(option, **settings)


def read_task(options: Options) -> dict[str, Any]:
    fields = read_task_or_list(options)
    if isinstance(fields, list):
        raise UsageError("This command takes one task, and the file is a list")
    return fields


def read_task_or_list(options: Options) -> dict[str, Any] | list[dict[str, Any]]:
    """Read a file; --data overrides its fields, and options override both."""
    fields: Any = task_files.read_file(to_path(options.file)) if options.file else {}
    if isinstance(fields, list):
        return fields
    if options.data:
        try:
            fields = {**fields, **documents.parse_json(options.data)}
        except (ValueError, TypeError) as error:
            raise UsageError(f"--data is not a JSON object: {error}") from None
    if not isinstance(fields, dict):
        raise UsageError("The fields of a task should be an object")
    return {**fields, **_given_options(options)}


def _given_options(options: Options) -> dict[str, Any]:
    return {
        dest.removeprefix(_DEST_PREFIX): value
        for dest, value in vars(options).items()
        if dest.startswith(_DEST_PREFIX) and value is not None
    }


def to_path(file: str) -> Path:
    return Path("/dev/stdin") if file == "-" else Path(file)
