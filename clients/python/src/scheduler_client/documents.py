"""JSON and YAML read strictly: exact numbers, no key twice, texts left as they are."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from decimal import Decimal
from typing import Any

import simplejson
import yaml


class DocumentError(ValueError):
    """The text cannot be used; the message says where and why."""


def read(text: str) -> Any:
    """What a JSON or YAML text holds. Numbers keep their digits. Raises DocumentError.

    JSON is read as JSON (RFC 8259). Whatever is no JSON is read as YAML 1.2, core schema.
    """
    try:
        return read_json(text)
    except DocumentError:
        raise
    except (ValueError, RecursionError):
        return _read_yaml(text)


def read_json(text: str) -> Any:
    """What a JSON text holds. Raises ValueError: DocumentError for a key that stands twice."""
    return simplejson.loads(
        text,
        parse_int=_integer,
        parse_float=Decimal,
        parse_constant=_no_number,
        object_pairs_hook=_object,
    )


def write_json(value: Any, *, indent: int | None = None) -> str:
    """JSON of what was read, digit by digit. Raises ValueError for NaN and infinities."""
    return simplejson.dumps(
        value, allow_nan=False, use_decimal=True, ensure_ascii=False, indent=indent
    )


def _integer(text: str) -> int | Decimal:
    # An int forgets the sign of zero.
    return Decimal(text) if text == "-0" else int(text)


def _no_number(text: str) -> Any:
    raise DocumentError(f"{text} is not a number in JSON")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in pairs:
        if name in read:
            raise DocumentError(f"{name} stands twice in one object")
        read[name] = value
    return read


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.2, core schema, where PyYAML reads 1.1; refuses a key that stands twice.

    In YAML 1.1 `on` is true, `1:30` is ninety, `010` is eight, and `1e3` is a text.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != _MERGE:
                line = key.start_mark.line + 1
                raise DocumentError(f"{key.value} stands twice, again in line {line}")
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.2.2, section 10.3.2, and the merge key that YAML 1.1 users know.
_MERGE = "tag:yaml.org,2002:merge"
_RESOLVERS = {
    "tag:yaml.org,2002:null": (r"null|Null|NULL|~|", "nN~"),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (
        r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
        "-+0123456789",
    ),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    _MERGE: (r"<<", "<"),
}
for _tag, (_pattern, _first) in _RESOLVERS.items():
    _firsts: list[Any] = [*_first, *([""] if _tag.endswith("null") else [])]
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _firsts)


def _yaml_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | Decimal:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2])
    return int(text[2:], base) if base else _integer(text)


def _yaml_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    text = str(loader.construct_scalar(node))
    if text.lower().lstrip("+-") in (".inf", ".nan"):
        line = node.start_mark.line + 1
        raise DocumentError(f"{text} in line {line} is not a number in JSON")
    return Decimal(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _yaml_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _yaml_float)


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise DocumentError(_sentence(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"It is neither YAML nor JSON: {error}") from None


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """What is wrong and where, on one line."""
    where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    hint = ""
    if error.context and "scanning an a" in error.context:
        # An alias or an anchor, which nobody means who writes a cron expression.
        hint = "; a text that begins with * or & must stand in quotes"
    problem = error.problem or error.context
    return f"It is neither YAML nor JSON: {where}{problem}{hint}"
