"""Secrets, private directories and the lock of `run` under SCHEDULER_STATE_DIR."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LocalSetupError(RuntimeError):
    """A server or a file cannot be used; the text tells the operator why."""


def load_or_create_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret stored in a file, which is created at the first call."""
    try:
        if not path.exists():
            _write_once(path, make())
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LocalSetupError(describe_unusable(path, error)) from error


def _write_once(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        # Unlike a rename, a link never replaces what another process wrote first.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def describe_unusable(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be used ({error.strerror}): set SCHEDULER_STATE_DIR to a "
        "directory that this user may write."
    )


def make_private_directory(directory: Path, *, owner: int) -> None:
    directory.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, owner, -1)
    found = directory.lstat()
    if found.st_uid != owner or found.st_mode & 0o077 or directory.is_symlink():
        raise LocalSetupError(
            f"{directory} must be a directory that only its owner (user id {owner}) may "
            "open: remove it, or set SCHEDULER_STATE_DIR to another directory."
        )


def add_permissions(path: Path, bits: int) -> bool:
    mode = path.stat().st_mode
    if mode & bits == bits:
        return False
    path.chmod(mode & 0o7777 | bits)
    return True


def check_state_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise LocalSetupError(
            f"{path} cannot be written ({error.strerror}): set SCHEDULER_STATE_DIR to a "
            "directory that can."
        ) from error


@contextmanager
def hold_run_lock(path: Path) -> Iterator[None]:
    """Hold a lock on the directory, which ends with this process at the latest."""
    with (path / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalSetupError(
                f"The service already runs on {path}: stop it first, or set "
                "SCHEDULER_STATE_DIR, PORT and FLOWER_PORT to others."
            ) from None
        yield
