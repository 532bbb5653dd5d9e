"""JSON texts that have to be refused, and texts as they are written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tasks_api.api.json_codec import MAX_DEPTH


def nested_arrays(depth: int) -> str:
    return "[" * depth + "]" * depth


BROKEN_TEXTS = [
    b" ",
    b"{",
    b"{'task_type': 'one_time'}",
    b"task_type=one_time&url=http://example.com/",
    b"<task/>",
    b'{"a": 1,}',
    b'{"a": 1} {"b": 2}',
    b'{"a": 01}',
    b'{"a": "\n"}',
    b'{"a": "\\x"}',
    # Not UTF-8: Latin-1, half a character, UTF-16, compressed.
    b'{"a": "\xfc"}',
    b'{"a": "\xe2\x82"}',
    '{"a": 1}'.encode("utf-16"),
    b"\x1f\x8b\x08\x00",
    # A surrogate, written as if it were a character.
    b'{"a": "\xed\xa0\x80"}',
    # Numbers that are none in JSON, or that no reader takes.
    b'{"a": NaN}',
    b'{"a": [Infinity]}',
    b'{"a": -Infinity}',
    b'{"a": 1e400}',
    b'{"a": -1e400}',
    b'{"a": 1e99999999999999999999}',
    b'{"a": 1e-99999999999999999999}',
    b'{"a": ' + b"9" * 1000 + b"}",
    b'{"a": ' + b"9" * 100_000 + b"}",
    b'{"a": 1.' + b"9" * 1000 + b"}",
    # What PostgreSQL cannot store, and UTF-8 cannot write, also as a key.
    b'{"a": "\\u0000"}',
    b'{"\\u0000": 1}',
    b'{"a": {"b": ["x\\ud800y"]}}',
    b'{"a": "\\udc00\\ud800"}',
    b'{"a": {"\\udfff": 1}}',
    # Deep, in all kinds of brackets, closed or not.
    nested_arrays(MAX_DEPTH + 1).encode(),
    b'{"a": ' + nested_arrays(MAX_DEPTH).encode() + b"}",
    nested_arrays(100_000).encode(),
    b"[" * 500_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
]


def read_exactly(text: str) -> Any:
    """A JSON text with its numbers as they are written and its keys in their order."""
    return json.loads(
        text, parse_float=Decimal, parse_int=str, object_pairs_hook=lambda pairs: pairs
    )
