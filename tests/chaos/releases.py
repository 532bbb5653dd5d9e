"""The releases before this one, which are commits, and their code.

Nothing is released yet, so two commits stand for releases. A tag will do as well.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from tests.acceptance.harness import ROOT

# The first release whose tables can be upgraded: the commit with the initial migrations.
FIRST_RELEASE = "9029448"
# The release before this one, half of which a mixed fleet runs. When a release is made,
# its commit takes this place.
RELEASE_BEFORE = "bde042d2"


class MissingRelease(Exception):
    """The code of a release is not to be had here; the message says why."""


class Release(NamedTuple):
    """A commit whose files lie in a directory of their own."""

    commit: str
    title: str
    code: Path

    def __str__(self) -> str:
        return f"{self.commit} ({self.title})"


def check_out(commit: str, into: Path, repository: Path = ROOT) -> Release:
    """Put the files of a commit into a new directory. Raises MissingRelease."""
    found = _git(repository, "log", "-1", "--format=%h %s", f"{commit}^{{commit}}")
    archive = _git(repository, "archive", commit)
    if found.returncode or archive.returncode:
        raise MissingRelease(_why_missing(commit, repository))
    into.mkdir()
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive.stdout, check=True)
    name, _, title = found.stdout.decode().strip().partition(" ")
    if missing := list(_missing_packages(into)):
        raise MissingRelease(
            f"{name} needs {', '.join(missing)}, which this environment does not have."
        )
    return Release(name, title, into)


def is_used_in(commit: str, word: str, *paths: str) -> bool:
    """Whether a word stands in some files of a commit. Raises MissingRelease."""
    options = ("--quiet", "--word-regexp", "-e", word)
    found = _git(ROOT, "grep", *options, commit, "--", *paths)
    if found.returncode > 1:
        raise MissingRelease(_why_missing(commit, ROOT))
    return not found.returncode


def list_migrations(commit: str, *apps: str) -> list[tuple[str, str]]:
    """The migrations of a release, each with its app. Raises MissingRelease."""
    folders = [f"{app}/migrations/" for app in apps]
    found = _git(ROOT, "ls-tree", "--name-only", commit, *folders)
    if found.returncode:
        raise MissingRelease(_why_missing(commit, ROOT))
    paths = [Path(line) for line in found.stdout.decode().splitlines()]
    return [(path.parts[0], path.stem) for path in paths if path.stem[0].isdigit()]


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=repository, capture_output=True)


def _why_missing(commit: str, repository: Path) -> str:
    if _git(repository, "rev-parse", "--git-dir").returncode:
        return (
            f"The release before is the commit {commit}, and this is no Git repository."
        )
    return (
        f"The release before is the commit {commit}, which this clone does not have. "
        "`git fetch --unshallow` brings the whole history."
    )


def _missing_packages(code: Path) -> Iterator[str]:
    """What a release needs and is not installed; another version of it will do."""
    for line in (code / "requirements.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate():
            try:
                metadata.version(needed.name)
            except metadata.PackageNotFoundError:
                yield needed.name
