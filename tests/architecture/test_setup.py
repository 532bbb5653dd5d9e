"""`scripts/setup` makes .venv and installs a set of requirements into it, once.

It runs with a Python that only writes down what it was asked for.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "scripts/setup",
    "requirements.lock",
    "requirements-run.lock",
    "requirements-dev.lock",
    "clients/python/pyproject.toml",
)
# Commands that the script needs, so that no Python of this machine is found.
TOOLS = (
    "sh", "cat", "chmod", "cksum", "cp", "dirname", "flock", "grep", "head", "mkdir", "rm", "sed"
)  # fmt: skip
PYTHON = r"""#!/bin/sh
log() { echo "$*" >> calls; }
case "$*" in
  "-m venv --clear .venv")
    log venv .venv
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    printf '#!%s/.venv/bin/python\n' "$PWD" > .venv/bin/pip ;;
  --version) echo "Python 3.11.0" ;;
  *"pip config list") cat pip-config ;;
  *"-r /dev/stdin")
    log "pip $(grep -o '^uv==')"
    printf '#!/bin/sh\necho "uv $*" >> calls\nexit %s\n' "$(cat uv-fails)" > .venv/bin/uv
    chmod +x .venv/bin/uv ;;
  *"pip install"*) log "pip ${*##* }"; exit "$(cat pip-fails)" ;;
  *ensurepip*) exit "$(cat lacks-venv)" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    home = tmp_path / "checkout"
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    for name in ("uv-fails", "pip-fails", "lacks-venv"):
        (home / name).write_text("0")
    (home / "pip-config").write_text("global.extra-index-url='https://more.example/'\n")
    (home / "bin").mkdir()
    for tool in TOOLS:
        (home / "bin" / tool).symlink_to(str(shutil.which(tool)))
    python = home / "bin" / "python3.11"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return home


def setup(home: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/setup", name],
        cwd=home,
        env={"PATH": str(home / "bin")},
        capture_output=True,
        text=True,
    )


def calls(home: Path) -> list[str]:
    """What was asked for since the last look, without the options of uv."""
    log = home / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [" ".join((line.split()[0], line.split()[-1])) for line in lines]


def test_running_needs_one_set_and_the_tests_the_other(checkout: Path) -> None:
    ran = setup(checkout, "run")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert calls(checkout) == ["venv .venv", "pip uv==", "uv requirements-run.lock"]
    setup(checkout, "dev")
    assert calls(checkout) == [
        "pip uv==", "uv requirements-dev.lock", "pip clients/python"
    ]  # fmt: skip


def test_what_is_installed_is_not_installed_again(checkout: Path) -> None:
    setup(checkout, "dev")
    calls(checkout)

    for name in ("dev", "run"):
        again = setup(checkout, name)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert calls(checkout) == []


def test_a_set_is_installed_again_when_its_lock_or_the_other_set_has_changed(
    checkout: Path,
) -> None:
    setup(checkout, "dev")
    calls(checkout)
    with (checkout / "requirements-run.lock").open("a") as lock:
        lock.write("# changed\n")

    setup(checkout, "run")
    assert calls(checkout) == ["pip uv==", "uv requirements-run.lock"]
    # The other set may have been replaced in part.
    setup(checkout, "dev")
    assert "uv requirements-dev.lock" in calls(checkout)


def test_two_at_once_install_once(checkout: Path) -> None:
    both = [
        subprocess.Popen(
            ["scripts/setup", "run"], cwd=checkout, env={"PATH": f"{checkout}/bin"}
        )
        for _ in range(2)
    ]

    assert [each.wait(timeout=30) for each in both] == [0, 0]
    assert calls(checkout) == ["venv .venv", "pip uv==", "uv requirements-run.lock"]


def test_pip_installs_what_uv_could_not(checkout: Path) -> None:
    (checkout / "uv-fails").write_text("1")

    ran = setup(checkout, "run")

    assert (ran.returncode, "pip does" in ran.stderr) == (0, True)
    assert calls(checkout)[-1] == "pip requirements-run.lock"


def test_pip_installs_from_an_index_that_only_pip_knows(checkout: Path) -> None:
    (checkout / "pip-config").write_text("global.index-url='https://mirror.example/'\n")

    setup(checkout, "run")

    assert calls(checkout) == ["venv .venv", "pip requirements-run.lock"]


def test_what_could_not_be_installed_is_tried_again(checkout: Path) -> None:
    for name in ("uv-fails", "pip-fails"):
        (checkout / name).write_text("1")
    assert setup(checkout, "run").returncode == 1
    for name in ("uv-fails", "pip-fails"):
        (checkout / name).write_text("0")
    calls(checkout)

    assert setup(checkout, "run").returncode == 0
    assert "uv requirements-run.lock" in calls(checkout)


def test_a_checkout_that_has_moved_gets_another_environment(checkout: Path) -> None:
    setup(checkout, "run")
    calls(checkout)
    moved = checkout.rename(checkout.with_name("moved"))

    assert setup(moved, "run").returncode == 0
    assert calls(moved)[0] == "venv .venv"


def test_an_environment_of_somebody_else_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").symlink_to("/usr")

    refused = setup(checkout, "run")

    assert (refused.returncode, calls(checkout)) == (1, [])
    assert "Remove the link" in refused.stderr


def test_a_machine_without_python_is_told_what_it_needs(checkout: Path) -> None:
    (checkout / "bin" / "python3.11").unlink()

    refused = setup(checkout, "run")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Python 3.11 or newer is needed")


def test_a_python_without_its_venv_module_is_named(checkout: Path) -> None:
    (checkout / "lacks-venv").write_text("1")

    refused = setup(checkout, "run")

    assert (refused.returncode, calls(checkout)) == (1, [])
    assert refused.stderr.startswith("python3.11 has no venv module")
