"""Ask whether a plan shall be done."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from scheduler_client.cli.commands import Options, UsageError
from scheduler_client.cli.output import print_lines


def confirm(options: Options, lines: Iterable[str]) -> bool:
    """Show a plan and ask. Raises UsageError without a terminal."""
    if options.json or not sys.stdin.isatty():
        raise UsageError(
            "Cannot ask for confirmation without a terminal: use --yes or --plan"
        )
    print_lines(lines)
    return input("Do this? [y/N] ").strip().lower() in ("y", "yes")
