"""The site of the docs, which whichever test needs it first builds for all of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance.harness import ROOT, TESTS_DIR


def find_site() -> Path:
    """Where the site is; workers of pytest-xdist share it."""
    directory = Path(os.environ[TESTS_DIR])
    site = directory / "site"
    with (directory / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not site.exists():
            _build(directory / "site.new")
            (directory / "site.new").rename(site)
    return site


def _build(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
