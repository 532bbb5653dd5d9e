"""All cells at a glance: what each says of itself, and what the doors see of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families

from accounts import directory
from accounts.directory import Cell, Door

# Seconds for an answer of a cell; a slower one counts as dead.
TIMEOUT = 2.0
MAX_THREADS = 16
DEAD = "dead"

Numbers = Mapping[str, float]


class CellState(NamedTuple):
    """A cell, and what it says of itself; the numbers are None if it does not say."""

    cell: Cell
    status: str
    version: str = ""
    tasks: float | None = None
    due: float | None = None
    oldest_due: float | None = None
    runs_per_second: float | None = None
    late_p99: float | None = None

    @property
    def is_well(self) -> bool:
        return self.status == "ok"


class Overview(NamedTuple):
    cells: Sequence[CellState]
    doors: Sequence[Door]
    # The version by which every door should route.
    version: int


def load_overview() -> Overview:
    """Ask the directory, and all cells side by side. Raises DirectoryError."""
    cells = directory.list_cells()
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        states = list(pool.map(_ask, cells))
    return Overview(states, directory.list_doors(), directory.newest_version())


def _ask(cell: Cell) -> CellState:
    """The state of a cell, by the first of its servers that answers."""
    for server in cell.servers:
        if status := _read_status(_fetch(server, "/readyz")):
            return _with_metrics(cell, status, _fetch(server, "/metrics"))
    return CellState(cell, DEAD)


def _read_status(body: bytes) -> str:
    """The status in an answer of /readyz; empty if it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("status", "")) if isinstance(found, dict) else ""


def _with_metrics(cell: Cell, status: str, text: bytes) -> CellState:
    numbers, version = _read_metrics(text)
    return CellState(
        cell,
        status,
        version,
        numbers.get("scheduler_tasks_stored"),
        numbers.get("scheduler_due"),
        numbers.get("scheduler_oldest_due_seconds"),
        numbers.get("scheduler_recent_runs_per_second"),
        numbers.get("scheduler_recent_late_seconds"),
    )


def _read_metrics(text: bytes) -> tuple[Numbers, str]:
    """The values by name, and the version; none of what is no exposition."""
    try:
        families = list(text_string_to_metric_families(text.decode()))
    except ValueError:
        return {}, ""
    samples = [sample for family in families for sample in family.samples]
    versions = (
        sample.labels["version"]
        for sample in samples
        if sample.name == "scheduler_version"
    )
    return {sample.name: sample.value for sample in samples}, next(versions, "")


def _fetch(server: str, path: str) -> bytes:
    """The body of an answer, whatever its status; empty if there is none."""
    token = settings.METRICS_TOKEN
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{server}{path}", headers=headers)
    # Cells are reached as the door reaches them, and by no proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        return b"" if path == "/metrics" else error.read()
    except OSError:
        return b""
