"""The files of deploy/ha are what its page says, and HAProxy takes those of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.ha import stack
from deploy.ha.postgresql import PostgresPorts
from deploy.ha.programs import HERE, PROGRAM_PATH, look_for
from deploy.ha.service import ServicePorts

PAGE = (HERE / "README.md").read_text(encoding="utf-8")
HAPROXY_FILES = ("haproxy.cfg", "web.cfg")


def test_the_page_names_every_file() -> None:
    files = {
        str(path.relative_to(HERE))
        for path in HERE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".md")
    }
    named = set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))

    assert files == {each for each in named if not each.startswith(("-", "*"))}


def test_the_page_says_how_many_ports_the_stack_takes() -> None:
    assert f"the first of {stack.PORT_COUNT} ports; {stack.DEFAULT_PORT}" in PAGE


def test_the_page_of_the_stack_shows_its_ports() -> None:
    page = (HERE.parents[1] / "docs" / "how-to" / "high-availability.md").read_text()
    shown = set(map(int, re.findall(r"127\.0\.0\.1:(75\d\d)", page)))
    first = stack.DEFAULT_PORT
    postgres = PostgresPorts(*range(first, first + len(PostgresPorts._fields)))
    service = ServicePorts(
        *range(postgres[-1] + 1, postgres[-1] + 1 + len(ServicePorts._fields))
    )

    assert shown == {
        *(postgres.proxy, postgres.pg1, postgres.pg1_rest),
        *(postgres.pg2, postgres.pg2_rest),
        *(service.proxy, service.echo),
    }


@pytest.mark.skipif(look_for("haproxy") is None, reason="`apt install haproxy`")
def test_haproxy_takes_its_files_together_and_alone() -> None:
    files = [HERE / "haproxy" / name for name in HAPROXY_FILES]
    variables = re.findall(r"\$\{(\w+)\}", "".join(map(_read, files)))
    environment = {
        name: "8008" if name.endswith("_PORT") else "127.0.0.1:8000"
        for name in variables
    }
    for chosen in (files, *([file] for file in files)):
        options = [word for file in chosen for word in ("-f", str(file))]
        subprocess.run(
            ["haproxy", "-c", *options],
            env=environment | {"PATH": PROGRAM_PATH},
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize("name", HAPROXY_FILES)
def test_a_file_of_haproxy_names_its_variables_at_its_top(name: str) -> None:
    text = _read(HERE / "haproxy" / name)
    used = set(re.findall(r"\$\{(\w+)\}", text))
    comments = "".join(re.findall(r"^#.*\n", text, re.MULTILINE))

    assert used == set(re.findall(r"\b([A-Z\d_]+)=", comments))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
