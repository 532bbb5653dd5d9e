"""Find free TCP ports of this machine, and choose the port of `run`'s metrics."""

from __future__ import annotations

import socket
from pathlib import Path

from django.conf import settings

from scheduler_service.local.state_files import LocalSetupError

# Workers and beats answer probes here, unless the port is taken.
FIRST_METRICS_PORT = 9400


def check_port(host: str, port: int, variable: str) -> None:
    try:
        _bind(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "not a port number"
        raise LocalSetupError(
            f"Port {port} of {host} cannot be used ({reason}): set {variable} to another one."
        ) from error


def free_port(wanted: int) -> int:
    try:
        return _bind("127.0.0.1", wanted)
    except (OSError, OverflowError):
        return _bind("127.0.0.1", 0)


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the real server does: a port that is only cooling down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def save_metrics_port() -> int:
    """The first port at which workers and beats are probed, stored for `probe`.

    Production opens no port unless METRICS_PORT is set.
    """
    port: int = settings.METRICS_PORT
    if settings.DEVELOPMENT and not port:
        port = free_port(FIRST_METRICS_PORT)
    _metrics_port_file().write_text(f"{port}\n")
    return port


def read_metrics_port() -> int:
    """The port that `save_metrics_port` stored; 0 if there is none."""
    try:
        return int(_metrics_port_file().read_text())
    except (OSError, ValueError):
        return 0


def _metrics_port_file() -> Path:
    path: Path = settings.STATE_DIR / "metrics_port"
    return path
