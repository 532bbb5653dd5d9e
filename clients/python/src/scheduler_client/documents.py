"""Parse JSON and YAML strictly: exact numbers, no duplicate keys, dates as strings."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from decimal import Decimal
from typing import Any

import simplejson
import yaml


class DocumentError(ValueError):
    """The text is invalid; the message says where and why."""


def parse(text: str) -> Any:
    """Parse JSON (RFC 8259) or else YAML 1.2, core schema. Numbers keep their digits.

    Raises DocumentError.
    """
    try:
        return parse_json(text)
    except DocumentError:
        raise
    except (ValueError, RecursionError):
        return _parse_yaml(text)


def parse_json(text: str) -> Any:
    """Parse JSON. Raises ValueError, and its subclass DocumentError for a duplicate key."""
    return simplejson.loads(
        text,
        parse_int=_parse_integer,
        parse_float=Decimal,
        parse_constant=_refuse_constant,
        object_pairs_hook=_build_object,
    )


def write_json(value: Any, *, indent: int | None = None) -> str:
    """Write a parsed value, digit by digit. Raises ValueError for NaN and infinities."""
    return simplejson.dumps(
        value, allow_nan=False, use_decimal=True, ensure_ascii=False, indent=indent
    )


def _parse_integer(text: str) -> int | Decimal:
    # An int forgets the sign of zero.
    return Decimal(text) if text == "-0" else int(text)


def _refuse_constant(text: str) -> Any:
    raise DocumentError(f"{text} is not a number in JSON")


def _build_object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for name, value in pairs:
        if name in built:
            raise DocumentError(f"The key {name} is duplicated in one object")
        built[name] = value
    return built


class _Loader(yaml.SafeLoader):
    """Loads YAML 1.2, core schema, instead of YAML 1.1, and refuses duplicate keys.

    In YAML 1.1 `on` is true, `1:30` is 90, `010` is 8, and `1e3` is a string.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != _MERGE:
                line = key.start_mark.line + 1
                raise DocumentError(f"The key {key.value} is duplicated in line {line}")
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.2.2, section 10.3.2, and the merge key of YAML 1.1.
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


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | Decimal:
    text = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(text[:2])
    return int(text[2:], base) if base else _parse_integer(text)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    text = str(loader.construct_scalar(node))
    if text.lower().lstrip("+-") in (".inf", ".nan"):
        line = node.start_mark.line + 1
        raise DocumentError(f"{text} in line {line} is not a number in JSON")
    return Decimal(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise DocumentError(_describe_error(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"The text is neither YAML nor JSON: {error}") from None


def _describe_error(error: yaml.MarkedYAMLError) -> str:
    """Return the problem and its place on one line."""
    where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    hint = ""
    if error.context and "scanning an a" in error.context:
        # An alias or an anchor: more likely a cron expression without quotes.
        hint = "; a string that begins with * or & must stand in quotes"
    problem = error.problem or error.context
    return f"The text is neither YAML nor JSON: {where}{problem}{hint}"
