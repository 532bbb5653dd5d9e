"""The site of the docs is built from every page, and loads nothing from the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.built_site import find_site

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site() -> Path:
    return find_site()


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}

    assert pages == built - {Path("404")}


def test_a_page_loads_nothing_from_the_network(site: Path) -> None:
    loading = re.compile(
        r'<(?:script|img)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"'
    )
    loaded = {
        "".join(found)
        for page in site.rglob("*.html")
        for found in loading.findall(page.read_text(encoding="utf-8"))
    }

    assert loaded
    assert not [address for address in loaded if re.match(r"(https?:)?//", address)]
    # The theme loads the program that draws these from elsewhere.
    assert not [
        page for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text()
    ]


def test_every_page_is_of_one_kind() -> None:
    kinds = {path.relative_to(DOCS).parts[0] for path in DOCS.rglob("*.md")}

    assert kinds == {
        "index.md",
        "tutorials",
        "how-to",
        "reference",
        "explanation",
        "decisions",
    }
