"""Print the results of commands, as text or as JSON, and errors."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from scheduler_client import documents
from scheduler_client.cli.commands import ExitCode, Options
from scheduler_client.connection import MAX_PAGE_SIZE
from scheduler_client.formatting import sanitize

T = TypeVar("T")


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def print_result(options: Options, data: object, lines: Iterable[str]) -> None:
    """Print `data` as JSON with --json, and `lines` without."""
    if options.json:
        print(documents.write_json(data, indent=2))
    else:
        print_lines(lines)


def succeed(options: Options, data: object, *lines: str) -> int:
    """Print a result. Returns the exit code for success."""
    print_result(options, data, lines)
    return ExitCode.SUCCESS


def print_error(text: str) -> None:
    print(f"scheduler: {sanitize(text, 2000)}", file=sys.stderr)


def page_size(options: Options) -> int:
    """Return how many items to fetch at once: more than are shown, to see if more exist."""
    limit: int | None = options.limit
    return MAX_PAGE_SIZE if limit is None else min(limit + 1, MAX_PAGE_SIZE)


def take_limit(options: Options, items: Iterator[T]) -> list[T]:
    """Return as many items as --limit allows. Says on standard error if there are more."""
    taken = list(islice(items, options.limit))
    if options.limit is not None and next(items, None) is not None:
        print_error(
            f"Only the first {options.limit} are shown; for more, use --limit or --all."
        )
    return taken
