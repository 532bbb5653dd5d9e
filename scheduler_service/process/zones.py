"""Which rules of time zones count: the newer of the machine's and those of the package.

zoneinfo reads the machine's files first, however old they are. Governments give some weeks'
notice, so a machine that nobody updates is an hour wrong.
"""

from __future__ import annotations

import os
import sysconfig
import zoneinfo
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import tzdata

UNKNOWN = "unknown"


class Rules(NamedTuple):
    """Rules of time zones: the IANA's name of the version, and whose they are."""

    version: str
    source: str

    @property
    def age(self) -> tuple[int, str]:
        """Later ones are greater: after 2026z comes 2026za. What is not known is oldest."""
        is_known = self.version != UNKNOWN
        return (len(self.version), self.version) if is_known else (0, "")


PACKAGE = Rules(tzdata.IANA_VERSION, "package")


@lru_cache(maxsize=1)
def in_force() -> Rules:
    """Make the newer rules count in this process, and say which they are.

    An operator's PYTHONTZPATH counts as it is.
    """
    if (given := os.environ.get("PYTHONTZPATH")) is not None:
        found = rules_in(given.split(os.pathsep), "PYTHONTZPATH")
        return found or PACKAGE
    paths = str(sysconfig.get_config_var("TZPATH") or "").split(os.pathsep)
    machine = rules_in(paths, "machine")
    if machine is not None and machine.age > PACKAGE.age:
        return machine
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    return PACKAGE


def rules_in(paths: Iterable[str], source: str) -> Rules | None:
    """What lies in the first of these directories that has zones."""
    folder = next((path for path in paths if (Path(path) / "Etc/UTC").is_file()), None)
    return None if folder is None else Rules(_version_in(Path(folder)), source)


def _version_in(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                words = file.readline().split()
        except OSError:
            continue
        if words:
            # `# version 2026f`, or the version alone.
            return words[-1]
    return UNKNOWN
