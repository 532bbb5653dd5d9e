"""Run one command of `scheduler`, and turn errors into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from scheduler_client.cli.commands import ExitCode, UsageError
from scheduler_client.cli.output import print_error
from scheduler_client.cli.parser import build_parser
from scheduler_client.errors import ApiError, SchedulerError, Unreachable
from scheduler_client.task_files import FileError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.execute(options)
        return code
    except ApiError as error:
        print_error(f"{error.status}: {error.message}")
        for task in error.tasks[1:]:
            print_error(f"tasks[{task['index']}]: {task['message']}")
        return ExitCode.REFUSED
    except Unreachable as error:
        print_error(str(error))
        return ExitCode.NO_RESPONSE
    except (UsageError, FileError, SchedulerError, ValueError) as error:
        print_error(str(error))
        return ExitCode.USAGE_ERROR
    except BrokenPipeError:
        # The reader is gone, such as `| head`. Python's flush at exit must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.SUCCESS
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
