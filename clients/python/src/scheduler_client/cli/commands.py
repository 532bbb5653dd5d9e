"""What a command is: a function of a client and its options that returns an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from enum import IntEnum
from functools import partial

from scheduler_client.client import Client

Options = argparse.Namespace
Command = Callable[[Client, Options], int]
LocalCommand = Callable[[Options], int]


class ExitCode(IntEnum):
    SUCCESS = 0
    REFUSED = 1
    USAGE_ERROR = 2
    NO_RESPONSE = 3
    # A plan with --check has changes, or the balance of an account is not zero.
    DIFFERENCE_FOUND = 4
    INTERRUPTED = 130


class UsageError(Exception):
    """The arguments cannot be used; the message says why."""


class CommandGroup:
    """Commands with a common first word, such as `scheduler tasks list`."""

    def __init__(
        self, parser: argparse.ArgumentParser, common: argparse.ArgumentParser
    ) -> None:
        self._subparsers = parser.add_subparsers(required=True, metavar="command")
        self._common = common

    def add_group(self, name: str, text: str) -> CommandGroup:
        parser = self._subparsers.add_parser(name, help=text, description=text)
        return CommandGroup(parser, self._common)

    def add_command(
        self, name: str, command: Command, text: str
    ) -> argparse.ArgumentParser:
        return self.add_local_command(name, partial(_call_service, command), text)

    def add_local_command(
        self, name: str, command: LocalCommand, text: str
    ) -> argparse.ArgumentParser:
        """Add a command that sends nothing to the service."""
        parser = self._subparsers.add_parser(
            name,
            parents=[self._common],
            help=text,
            description=text,
            allow_abbrev=False,
        )
        parser.set_defaults(execute=command)
        return parser


def _call_service(command: Command, options: Options) -> int:
    if not options.server or not options.token:
        raise UsageError(
            "Set SCHEDULER_URL and SCHEDULER_TOKEN, or --server and --token"
        )
    with Client(
        options.server,
        options.token,
        timeout=options.server_timeout,
        retries=options.server_retries,
    ) as client:
        return command(client, options)
