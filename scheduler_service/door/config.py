"""Write the part of HAProxy's configuration that names the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from accounts.directory import Cell
from scheduler_service.door.maps import HOSTS, write_map

CELLS_CONFIG = "cells.cfg"
# haproxy.cfg composes the names of backends with it.
BACKEND_PREFIX = "cell_"
HEADER = "# Written by `manage.py write_door`; haproxy.cfg of deploy/door uses it."
# A cell whose database is away says so itself, in the words of each wire format. So the
# door asks only whether web lives.
CELL_CHECK = ("option httpchk GET /healthz", "http-check expect status 200")
# Requests that name no tenant are refused by any cell that can look credentials up.
ANY_CHECK = ("option httpchk GET /readyz", "http-check expect status 200")
DEFAULT_SERVER = "default-server check inter 2s fall 2 rise 1"


def write_config(folder: Path, cells: Sequence[Cell]) -> None:
    """Write the cells and their hosts; HAProxy reads both when it starts or reloads."""
    text = "\n".join(_render(cells)) + "\n"
    (folder / CELLS_CONFIG).write_text(text, encoding="utf-8")
    write_map(folder / HOSTS, {cell.host: cell.name for cell in cells if cell.host})


def _render(cells: Sequence[Cell]) -> Iterator[str]:
    yield HEADER
    for cell in cells:
        yield from _backend(f"{BACKEND_PREFIX}{cell.name}", CELL_CHECK, _servers(cell))
    servers = [line for cell in cells for line in _servers(cell)]
    yield from _backend("any_cell", ANY_CHECK, servers)


def _backend(name: str, check: Sequence[str], servers: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"backend {name}"
    for line in (*check, DEFAULT_SERVER, *servers):
        yield f"    {line}"


def _servers(cell: Cell) -> list[str]:
    return [
        f"server {cell.name}-{number} {address}"
        for number, address in enumerate(cell.servers, start=1)
    ]
