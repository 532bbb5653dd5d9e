"""The command `scheduler`."""

from __future__ import annotations

from scheduler_client.cli.app import main

__all__ = ["main"]
