"""The maps of a door: by tenant the cell, and by digest of a credential the tenant."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from accounts.directory import Routes

TENANTS, CREDENTIALS, HOSTS = "tenants.map", "credentials.map", "hosts.map"

Map = dict[str, str]
# The new values by key; None where an entry goes.
Changes = Mapping[str, str | None]


class MapChange(NamedTuple):
    """What changes in the map of a file."""

    file: str
    changes: Changes


def changes_of(routes: Routes) -> list[MapChange]:
    """What routes change. Tenants come last: none is routed before its credentials."""
    cells = {str(tenant): cell for tenant, cell in routes.cells.items()}
    owners = {
        digest: None if tenant is None else str(tenant)
        for digest, tenant in routes.credentials.items()
    }
    return [MapChange(CREDENTIALS, owners), MapChange(TENANTS, cells)]


def kept_entries(changes: Changes) -> Map:
    """The entries that changes of an empty map leave."""
    return {key: value for key, value in changes.items() if value is not None}


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> Changes:
    """What turns one map into another one."""
    gone: dict[str, str | None] = {key: None for key in old if key not in new}
    return gone | {key: value for key, value in new.items() if old.get(key) != value}


def apply_changes(found: Map, changes: Changes) -> None:
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value


def write_map(path: Path, entries: Mapping[str, str]) -> None:
    """Replace a file at once, so that HAProxy never reads half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with open(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{key} {value}\n" for key, value in entries.items())
    os.chmod(temporary, 0o640)
    os.replace(temporary, path)
