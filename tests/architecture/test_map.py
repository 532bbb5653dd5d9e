"""The map in docs/explanation/architecture.md names every module, in the ring that it is in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.architecture.test_rings import CORE, MODELS, MODULES, PURE, ROOT

PAGE = ROOT / "docs" / "explanation" / "architecture.md"
RINGS = {"pure": PURE, "models": MODELS, "core": CORE}


def lines_of_the_map() -> Iterator[tuple[int, list[str], str]]:
    """Of each line how far it is indented, the names in it, and its last word."""
    _, _, part = PAGE.read_text(encoding="utf-8").partition("\n## Modules\n")
    drawn = part.partition("```text\n")[2].partition("```")[0]
    for line in drawn.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        yield len(line) - len(line.lstrip()), names, line.split()[-1]


def mapped() -> dict[str, str]:
    """The ring that the map gives to each module, if it does, by the module's name."""
    found: dict[str, str] = {}
    folders: list[tuple[int, str]] = []
    for indent, names, ring in lines_of_the_map():
        folders = [each for each in folders if each[0] < indent]
        inside = ".".join(folder for _, folder in folders)
        for name in names:
            if name.endswith("/"):
                folders.append((indent, name.removesuffix("/")))
            else:
                found[f"{inside}.{name.removesuffix('.py')}"] = ring
    return found


PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def test_every_module_is_on_the_map_and_nothing_else() -> None:
    # Named as a whole: commands, Django's settings of an app, and what OpenAPI tells.
    modules = {
        name
        for name in MODULES.keys() - PACKAGES
        if not re.search(r"\.(management|formats)\.|\.apps$|_schema$", name)
    }

    assert set(mapped()) == modules


def test_the_map_and_the_rule_agree_on_the_rings() -> None:
    drawn = {
        ring: {name for name, word in mapped().items() if word == ring}
        for ring in RINGS
    }

    assert drawn == {ring: modules - PACKAGES for ring, modules in RINGS.items()}
