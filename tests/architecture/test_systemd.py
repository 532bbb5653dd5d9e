"""The unit files start the parts of the Procfile, and systemd can read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from scheduler_service import settings
from scheduler_service.process.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "systemd"
UNITS = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
PROCFILE = read_procfile(ROOT / "Procfile")
SERVICES = {
    "web": "scheduler-web.service",
    "worker": "scheduler-worker@.service",
    "beat": "scheduler-beat@.service",
    "flower": "scheduler-flower.service",
}
HOME = "/opt/scheduler"


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNITS[unit], re.MULTILINE)


def words(command: str) -> list[str]:
    """A command without the path of its program, and without the name of a worker."""
    found = shlex.split(command.replace(f"{HOME}/.venv/bin/", ""))
    return found[: found.index("-n")] if "-n" in found else found


@pytest.mark.parametrize("part", sorted(SERVICES))
def test_a_unit_starts_a_part_as_the_procfile_does(part: str) -> None:
    [command] = values(SERVICES[part], "ExecStart")

    assert words(command) == words(PROCFILE[part])


def test_the_target_starts_every_service() -> None:
    wanted = set(" ".join(values("scheduler.target", "Wants")).split())

    assert {re.sub(r"@\w+", "@", name) for name in wanted} == set(SERVICES.values())


@pytest.mark.parametrize("name", sorted(UNITS.keys() - {"scheduler.target"}))
def test_every_setting_is_known_to_the_code(name: str) -> None:
    given = re.findall(r"\b([A-Z_]+)=", " ".join(values(name, "Environment")))

    assert {*given} <= settings.KNOWN_VARIABLES | {"PYTHONUNBUFFERED"}


def test_the_page_names_settings_that_are_known() -> None:
    page = (ROOT / "docs" / "how-to" / "systemd.md").read_text(encoding="utf-8")

    assert {*re.findall(r"^([A-Z_]+)=", page, re.MULTILINE)} <= settings.KNOWN_VARIABLES


@pytest.mark.parametrize("name", sorted(SERVICES.values()))
def test_a_service_comes_back_and_may_finish(name: str) -> None:
    assert values(name, "Restart") == ["always"]
    assert values(name, "KillMode") == ["mixed"]
    assert int(values(name, "TimeoutStopSec")[0]) >= 60


@pytest.mark.parametrize("name", sorted(UNITS.keys() - {"scheduler.target"}))
def test_a_service_has_few_rights(name: str) -> None:
    assert values(name, "User") == ["scheduler"]
    assert values(name, "NoNewPrivileges") == ["yes"]
    assert values(name, "ProtectSystem") == ["strict"]
    assert values(name, "CapabilityBoundingSet") == [""]


def test_systemd_can_read_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("There is no systemd-analyze on this machine.")
    # It wants every program to be there.
    for name, text in UNITS.items():
        true = re.sub(rf"{HOME}/\.venv/bin/\w+", "/bin/true", text)
        (tmp_path / name).write_text(true)
    names = [name.replace("@.", "@1.") for name in UNITS]

    done = subprocess.run(
        [program, "verify", "--man=no", *(tmp_path / name for name in names)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    ours = [line for line in done.stderr.splitlines() if "scheduler" in line]
    assert (done.returncode, ours) == (0, [])
