"""Which folder imports which: the rule that the tests hold, and a picture of it.

`python -m tests.architecture.folders [path]` prints the folders of a checkout, the arrows
between them and the circles; `--write-map` renews the map in docs/explanation/architecture.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
MAP_BEGIN, MAP_END = "<!-- map -->\n\n```text\n", "\n```\n\n<!-- end of the map -->"
PACKAGES = ("accounts", "tasks_api", "console", "scheduler_service")

# From the bottom to the top: a folder imports those before it, and none after it. A
# name is a folder or a module; a module belongs to the longest name that it begins with.
FOLDERS = (
    "scheduler_service.compat",
    "scheduler_service.process",
    "scheduler_service.http",
    "scheduler_service.redis",
    "scheduler_service.brokers",
    "scheduler_service.local",
    "scheduler_service.db",
    "tasks_api.domain",
    "accounts",
    "scheduler_service.door",
    "accounts.services",
    "accounts.access",
    "accounts.admin",
    "accounts.management",
    "tasks_api.models",
    "tasks_api.metrics",
    "tasks_api.messaging",
    "tasks_api.storage",
    "tasks_api.services",
    "tasks_api.moving",
    "tasks_api.monitoring",
    "tasks_api.delivery",
    "tasks_api.taking",
    "tasks_api.worker",
    "tasks_api.scheduler",
    "scheduler_service.startup",
    "tasks_api.admin",
    "tasks_api.api",
    # One folder a wire format. They stand beside each other.
    "tasks_api.api.access",
    "tasks_api.api.calendars",
    "tasks_api.api.channels",
    "tasks_api.api.cron_jobs",
    "tasks_api.api.ops",
    "tasks_api.api.pull_queue",
    "tasks_api.api.rest_jobs",
    "tasks_api.api.tasks",
    "tasks_api.api.timers",
    # The pages stand beside the API, over the services.
    "console",
    # Celery's tasks and Django's settings of the app; then the project itself.
    "tasks_api",
    "scheduler_service",
)
_LONGEST_FIRST = sorted(FOLDERS, key=len, reverse=True)


class Arrow(NamedTuple):
    """One module imports another one, in another folder."""

    source: str
    target: str


def find_modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the product, by its dotted name; without migrations."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "migrations" not in parts:
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = find_modules()


@cache
def _import_statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Of a file that is parsed once, because many tests ask about every module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(
        node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
    )


def imports_of(path: Path, modules: Mapping[str, Path] = MODULES) -> Iterator[str]:
    """What a module imports: each name dotted as far as it is a module of ours."""
    for node in _import_statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                yield dotted if dotted in modules else node.module


def is_inside(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def folder_of(module: str) -> str:
    """The folder by which the rule judges a module."""
    return next(folder for folder in _LONGEST_FIRST if is_inside(module, folder))


def directory_of(module: str, modules: Mapping[str, Path]) -> str:
    """Where a module lies, whatever the rule says."""
    is_package = modules[module].name == "__init__.py"
    return module if is_package else module.rpartition(".")[0]


def find_arrows(modules: Mapping[str, Path] = MODULES) -> Iterator[Arrow]:
    """Each import of one module of ours by another."""
    for source, path in modules.items():
        targets = {name for name in imports_of(path, modules) if name in modules}
        yield from (Arrow(source, target) for target in sorted(targets - {source}))


def find_circles(edges: set[tuple[str, str]]) -> list[set[str]]:
    """The sets of folders in which each one leads to every other one."""
    following: dict[str, set[str]] = {}
    for source, target in edges:
        following.setdefault(source, set()).add(target)
    reached = {start: _reach(start, following) for start in following}
    circles = {
        frozenset(each for each in reached[start] if start in reached.get(each, ()))
        for start in following
        if start in reached[start]
    }
    return sorted((set(circle) for circle in circles), key=sorted)


def _reach(start: str, following: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(following[start])
    while left:
        folder = left.pop()
        if folder not in seen:
            seen.add(folder)
            left.extend(following.get(folder, ()))
    return seen


def describe(root: Path) -> Iterator[str]:
    """Folders, the arrows between them, and where these run in circles."""
    modules = find_modules(root)
    arrows = {
        (directory_of(source, modules), directory_of(target, modules))
        for source, target in find_arrows(modules)
        # A package that only holds others is no goal of an import.
        if target not in PACKAGES
    }
    edges = sorted((source, target) for source, target in arrows if source != target)
    circles = find_circles(set(edges))
    folders = {folder for edge in edges for folder in edge}
    knotted = sum(len(circle) for circle in circles)
    yield f"{len(modules)} modules in {len(folders)} folders, {len(edges)} arrows"
    yield f"{len(circles)} circles, {knotted} folders in them"
    for circle in circles:
        yield f"  circle: {', '.join(sorted(circle))}"
    for source, targets in groupby(edges, key=lambda edge: edge[0]):
        yield f"{source} → {', '.join(target for _, target in targets)}"


def draw_map() -> str:
    """Every folder and module with its first paragraph, from the top to the bottom."""
    lines = []
    for folder in reversed(FOLDERS):
        lines.append(f"{folder.replace('.', '/')}/  {_first_paragraph(folder)}")
        for module in sorted(name for name in MODULES if _is_drawn(name, folder)):
            file = module.removeprefix(f"{folder}.").replace(".", "/")
            lines.append(f"  {file}.py  {_first_paragraph(module)}")
    return "\n".join(lines)


def _is_drawn(module: str, folder: str) -> bool:
    # Commands say by their names what they do, and `manage.py help` lists them.
    is_named_by_its_folder = ".commands." in module or module.endswith(".apps")
    is_module = MODULES[module].name != "__init__.py"
    return is_module and folder_of(module) == folder and not is_named_by_its_folder


def _first_paragraph(module: str) -> str:
    said = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return " ".join((said or "").partition("\n\n")[0].split())


def write_map() -> None:
    """Put the map into its page, between its marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(MAP_BEGIN)
    _, end, after = rest.partition(MAP_END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no marks for the map.")
    PAGE.write_text(
        f"{before}{MAP_BEGIN}{draw_map()}{MAP_END}{after}", encoding="utf-8"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--write-map"]:
        write_map()
    else:
        picture = describe(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
        sys.stdout.write("\n".join(picture) + "\n")
