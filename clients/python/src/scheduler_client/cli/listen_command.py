"""The command `scheduler listen`: a receiver for tests of tasks."""

from __future__ import annotations

import argparse
import os
import sys

from scheduler_client.cli.arguments import parse_positive_int
from scheduler_client.cli.commands import CommandGroup, ExitCode, Options, UsageError
from scheduler_client.receiver import ReceivedRequest, ResponsePolicy, WebhookReceiver
from scheduler_client.webhooks import decode_secret


def add_command(root: CommandGroup) -> None:
    text = "receive requests, verify them and print them"
    parser = root.add_local_command("listen", listen, text)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8001, help="0 is any free port")
    parser.add_argument(
        "--secret", action="append", help="whsec_…; or set SCHEDULER_SECRET"
    )
    _add_response_options(parser)
    parser.add_argument(
        "--count", type=parse_positive_int, help="stop after so many requests"
    )


def _add_response_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--status", type=int, default=200, help="status of responses")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="seconds before the response"
    )
    parser.add_argument(
        "--times", type=int, help="apply both to so many requests; later ones get 200"
    )


def listen(options: Options) -> int:
    def print_request(request: ReceivedRequest) -> None:
        print(request.to_json() if options.json else request.to_line(), flush=True)

    secrets = options.secret or os.environ.get("SCHEDULER_SECRET", "").split()
    for secret in secrets:
        decode_secret(secret)
    policy = ResponsePolicy(options.status, options.delay, options.times)
    try:
        with WebhookReceiver(
            options.host,
            options.port,
            secrets=secrets,
            policy=policy,
            on_request=print_request,
            max_requests=options.count,
        ) as receiver:
            note = "" if secrets else ", without --secret: signatures are not checked"
            print(f"Listening at {receiver.url}{note}", file=sys.stderr, flush=True)
            receiver.serve_forever(poll_interval=0.05)
    except OSError as error:
        raise UsageError(f"{options.host}:{options.port}: {error.strerror}") from None
    return ExitCode.SUCCESS
