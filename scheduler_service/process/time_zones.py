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

UNKNOWN_VERSION = "unknown"


class TimeZoneRules(NamedTuple):
    """Rules of time zones: the IANA's name of the version, and whose they are."""

    version: str
    source: str

    @property
    def sort_key(self) -> tuple[int, str]:
        """Later ones are greater: after 2026z comes 2026za. What is not known is oldest."""
        is_known = self.version != UNKNOWN_VERSION
        return (len(self.version), self.version) if is_known else (0, "")


PACKAGED_RULES = TimeZoneRules(tzdata.IANA_VERSION, "package")


@lru_cache(maxsize=1)
def use_newest_rules() -> TimeZoneRules:
    """Make the newer rules count in this process, and say which they are.

    An operator's PYTHONTZPATH counts as it is.
    """
    if (given := os.environ.get("PYTHONTZPATH")) is not None:
        found = find_rules(given.split(os.pathsep), "PYTHONTZPATH")
        return found or PACKAGED_RULES
    paths = str(sysconfig.get_config_var("TZPATH") or "").split(os.pathsep)
    machine = find_rules(paths, "machine")
    if machine is not None and machine.sort_key > PACKAGED_RULES.sort_key:
        return machine
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    return PACKAGED_RULES


def find_rules(paths: Iterable[str], source: str) -> TimeZoneRules | None:
    """What lies in the first of these directories that has zones."""
    folder = next((path for path in paths if (Path(path) / "Etc/UTC").is_file()), None)
    return (
        None if folder is None else TimeZoneRules(_read_version(Path(folder)), source)
    )


def _read_version(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                words = file.readline().split()
        except OSError:
            continue
        if words:
            # `# version 2026f`, or the version alone.
            return words[-1]
    return UNKNOWN_VERSION
