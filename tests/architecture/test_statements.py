"""Statements name the columns that they return and write: the next release adds others.

PostgreSQL refuses a prepared statement that returns more columns than before, and values
in the order of a table's columns would go astray.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.architecture.folders import MODULES

MODULES_OF_STATEMENTS = sorted(name for name in MODULES if name.endswith("statements"))
BEGINNING = re.compile(r"\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE)\b")
# All columns of something, except of an array that the statement names itself.
ALL_COLUMNS = re.compile(
    r"(?:\bSELECT\s|\bRETURNING\s|,)\s*(?:\w+\.)?\*"
    r"(?!(?:(?!\bFROM\b).)*\bFROM\s+unnest\b)",
    re.DOTALL,
)
INSERT_WITHOUT_COLUMNS = re.compile(
    r"\bINSERT\s+INTO\s+[\w{}]+(?:\s+AS\s+\w+)?\s++(?!\(|AS\b)"
)


def statements_of(module: str) -> Iterator[tuple[str, str]]:
    """The whole statements of a module; parts of statements begin with an underscore."""
    for name, text in vars(import_module(module)).items():
        is_whole = name.isupper() and name[0] != "_" and isinstance(text, str)
        if is_whole and BEGINNING.match(text):
            yield name, text


def outside_of_parentheses(statement: str) -> str:
    """What is in no parentheses: neither in a WITH nor in a subquery."""
    depth, kept = 0, []
    for letter in statement:
        depth -= letter == ")"
        if not depth:
            kept.append(letter)
        depth += letter == "("
    return "".join(kept)


def find_problem(statement: str) -> str:
    if ALL_COLUMNS.search(outside_of_parentheses(statement)):
        return "returns all columns"
    if INSERT_WITHOUT_COLUMNS.search(statement):
        return "names no columns to insert"
    return ""


@pytest.mark.parametrize("module", MODULES_OF_STATEMENTS)
def test_a_statement_names_its_columns(module: str) -> None:
    problems = {name: find_problem(text) for name, text in statements_of(module)}

    assert {name: text for name, text in problems.items() if text} == {}


def test_most_modules_have_statements() -> None:
    found = [name for name in MODULES_OF_STATEMENTS if any(statements_of(name))]

    assert len(found) > len(MODULES_OF_STATEMENTS) / 2


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("SELECT * FROM tasks_api_task", "returns all columns"),
        ("SELECT task.*, 1 FROM tasks_api_task task", "returns all columns"),
        ("SELECT 1, task.* FROM tasks_api_task task", "returns all columns"),
        ("UPDATE x SET a = 1 RETURNING *", "returns all columns"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "returns all columns"),
        ("WITH a AS (SELECT * FROM x) SELECT id FROM a", ""),
        ("SELECT count(*), 2 * 3, a * b FROM x", ""),
        ("INSERT INTO y (id, a) SELECT *, 0 FROM unnest(%s::int[]) AS x(id)", ""),
        ("INSERT INTO x SELECT 1", "names no columns to insert"),
        ("INSERT INTO x AS y VALUES (1)", "names no columns to insert"),
        ("INSERT INTO x AS y (id) SELECT 1", ""),
    ],
)
def test_the_rule_finds_columns_that_have_no_names(
    statement: str, problem: str
) -> None:
    assert find_problem(statement) == problem
