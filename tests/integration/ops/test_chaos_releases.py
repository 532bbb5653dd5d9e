"""The code of the release before comes from Git, or a sentence says why it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.chaos.releases import RELEASE_BEFORE, MissingRelease, check_out


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    made.mkdir()
    git(made, "init", "--quiet")
    return made


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True)


def commit(repository: Path, requirements: str) -> None:
    (repository / "requirements.txt").write_text(requirements)
    git(repository, "add", ".")
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    git(repository, *who, "commit", "--quiet", "--message", "Release it")


def test_a_release_is_checked_out_with_its_title(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, "Django==1.0  # another version than here\n")
    (repository / "requirements.txt").unlink()

    release = check_out("HEAD", tmp_path / "before", repository)

    assert release.title == "Release it"
    assert str(release).startswith(release.commit)
    assert (release.code / "requirements.txt").read_text().startswith("Django==1.0")


def test_a_clone_without_the_history_says_so(repository: Path, tmp_path: Path) -> None:
    commit(repository, "Django==1.0\n")

    with pytest.raises(MissingRelease, match=r"this clone does not have.*unshallow"):
        check_out(RELEASE_BEFORE, tmp_path / "before", repository)


def test_files_without_a_repository_say_so(tmp_path: Path) -> None:
    with pytest.raises(MissingRelease, match="this is no Git repository"):
        check_out(RELEASE_BEFORE, tmp_path / "before", tmp_path)


def test_a_release_that_needs_another_package_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, "no-such-package==1.0\nother; python_version < '3'\n")

    with pytest.raises(MissingRelease, match=r"needs no-such-package, which"):
        check_out("HEAD", tmp_path / "before", repository)
