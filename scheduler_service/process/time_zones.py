"""Use the newer time zone rules: those of the machine, or of the package tzdata.

zoneinfo prefers the machine's files, however old they are. Governments change rules at
some weeks' notice, and a machine without updates would be an hour wrong.
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
    """A version of the rules, as the IANA names it, and where they come from."""

    version: str
    source: str

    @property
    def sort_key(self) -> tuple[int, str]:
        """Later versions are greater: 2026za follows 2026z. Unknown ones are the oldest."""
        is_known = self.version != UNKNOWN_VERSION
        return (len(self.version), self.version) if is_known else (0, "")


PACKAGED_RULES = TimeZoneRules(tzdata.IANA_VERSION, "package")


@lru_cache(maxsize=1)
def use_newest_rules() -> TimeZoneRules:
    """Make this process use the newer rules, and return them.

    PYTHONTZPATH, which an operator sets, takes precedence.
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
    """The rules in the first of these directories that has any."""
    directory = next(
        (path for path in paths if (Path(path) / "Etc/UTC").is_file()), None
    )
    return (
        None
        if directory is None
        else TimeZoneRules(_read_version(Path(directory)), source)
    )


def _read_version(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                words = file.readline().split()
        except OSError:
            continue
        if words:
            # The line is `# version 2026f`, or the version alone.
            return words[-1]
    return UNKNOWN_VERSION
