"""The docs know every setting, their links lead somewhere, and their commands work."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from accounts import services as accounts

ROOT = Path(__file__).resolve().parents[3]
SETTINGS_PAGE = ROOT / "docs" / "reference" / "settings.md"
SETTINGS = [
    ROOT / "scheduler_service" / name
    for name in (
        "environment.py",
        "settings.py",
        "settings_api.py",
        "settings_login.py",
    )
]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^ *\$ python manage\.py (.+)$", re.MULTILINE)
# Asks processes, which tests/acceptance/test_run.py starts; a directory of cells, which
# tests/integration/accounts/test_directory.py and tests/acceptance/test_door.py have; or a
# second database, as the tests in tests/integration/moving and
# tests/acceptance/test_splits.py have it.
ELSEWHERE = {
    "probe",
    "add_cell",
    "assign_tenant",
    "follow_directory",
    "join_directory",
    "move_tenant",
    "write_door",
    "forget_moved_tenant",
    "number_rows",
    "split_cell",
}
# What takes a shell, or a secret that only the reader has, is run by
# tests/acceptance/test_pages.py.
TAKES_MORE = re.compile("…|<")
TOKEN = "sch_…"
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def variables() -> Iterator[str]:
    """The names that `env.…("NAME")` and `os.environ.get("NAME")` are called with."""
    for path in SETTINGS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and is_reading(node.func):
                [first, *_] = node.args
                assert isinstance(first, ast.Constant), ast.unparse(node)
                yield str(first.value)


def is_reading(function: ast.expr) -> bool:
    called = ast.unparse(function)
    return called.startswith(("env.", "os.environ.", "os.getenv")) and (
        called != "env.db_url_config"
    )


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in LINK.findall(prose(page)):
            if not re.match(r"[a-z]+:", link):
                yield page, link


@cache
def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = HEADING.findall(prose(page))
    plain = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_every_setting_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", SETTINGS_PAGE.read_text(), re.MULTILINE)

    assert set(variables()) <= set(rows)


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target.resolve()))


def test_a_link_leads_somewhere() -> None:
    broken = [
        f"{page.name}: {link}"
        for page, link in links()
        if not leads_somewhere(page, link)
    ]

    assert broken == []


def test_there_are_settings_and_links_to_check() -> None:
    assert {"SECRET_KEY", "WEB_THREADS"} <= set(variables())
    assert (ROOT / "README.md", "docs/tutorials/quickstart.md") in set(links())


def commands(page: Path) -> list[list[str]]:
    lines = COMMAND.findall(page.read_text(encoding="utf-8"))
    given = (line for line in lines if not TAKES_MORE.search(line.replace(TOKEN, "")))
    return [words for line in given if (words := shlex.split(line))[0] not in ELSEWHERE]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.name
)
def test_the_commands_of_a_page_work_one_after_the_other(page: Path) -> None:
    reader = accounts.provision_user("Reader", "reader")
    # The tenant and the user that pages name.
    accounts.provision_user("acme", "ann")
    for name, *words in commands(page):
        token = accounts.issue_token(reader)
        given = [token if word == TOKEN else word for word in words]

        call_command(name, *given, stdout=StringIO())
