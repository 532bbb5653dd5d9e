"""Parts of the OpenAPI document, and values that have to fit them."""

from __future__ import annotations

from typing import Any

import jsonschema


def content_of(part: dict[str, Any]) -> dict[str, Any]:
    [found] = part["content"].values()
    assert isinstance(found, dict)
    return found


def assert_fits(value: object, rule: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(as_json_schema(rule)).validate(value)


def as_json_schema(rule: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema names another type."""
    if isinstance(rule, list):
        return [as_json_schema(part) for part in rule]
    if not isinstance(rule, dict):
        return rule
    converted = {name: as_json_schema(part) for name, part in rule.items()}
    if converted.pop("nullable", False):
        if "type" not in converted:
            return {"anyOf": [converted, {"type": "null"}]}
        converted["type"] = [converted["type"], "null"]
    return converted
