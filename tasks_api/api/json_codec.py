"""The JSON parser and renderer: strict about syntax, exact about numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from math import isinf
from typing import IO, Any

import simplejson
from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

# Deeper than real data, and far below the depth at which recursive code fails.
MAX_DEPTH = 500
# Conversion costs more than the number of digits, and no real number has so many.
MAX_DIGITS = 999
_CONTAINERS = (list, dict)
_CONTAINERS_AND_STRINGS = (str, *_CONTAINERS)
# PostgreSQL cannot store the first, and UTF-8 cannot write the others.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# Matches each character that begins another value as a group. Skips strings, terminated
# or not, and empty containers.
_VALUE_MARKS = re.compile(
    r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|\[[ \t\r\n]*+\]|\{[ \t\r\n]*+\}|([\[{,])',
    re.DOTALL,
)


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit} bytes")


class TooManyValues(APIException):
    status_code = 413
    default_code = "too_many"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body has more than {limit} values")


class JSONParser(BaseParser):
    """Reads any body as JSON (RFC 8259), whatever its Content-Type says."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = _max_bytes(parser_context or {})
        # Raised before reading, so the service does not wait for the announced bytes.
        if _announced_bytes(parser_context or {}) > limit:
            raise BodyTooLarge(limit)
        try:
            raw = stream.read(limit + 1)
        except OSError:
            raise ParseError("The request body did not arrive") from None
        if len(raw) > limit:
            raise BodyTooLarge(limit)
        return loads(raw)


def _max_bytes(parser_context: Mapping[str, Any]) -> int:
    """The maximum size of a body, which a view may raise."""
    view = parser_context.get("view")
    limit: int = getattr(view, "max_body_bytes", settings.SCHEDULER_MAX_BODY_BYTES)
    return limit


def _announced_bytes(parser_context: Mapping[str, Any]) -> int:
    request = parser_context.get("request")
    length = request.META.get("CONTENT_LENGTH", "") if request else ""
    return int(length) if length.isascii() and length.isdigit() else 0


def loads(raw: bytes) -> Any:
    """The value of a JSON text, with exact decimals. Raises ParseError."""
    try:
        # RFC 8259 lets a reader ignore a byte order mark, which some clients send.
        text = raw.decode("utf-8-sig")
        _check_value_count(text)
        value = json.loads(
            text,
            parse_float=_parse_decimal,
            parse_int=_parse_integer,
            parse_constant=_reject_constant,
        )
    except UnicodeDecodeError:
        raise ParseError("The request body is not valid UTF-8") from None
    except RecursionError:
        raise ParseError("The request body is nested too deeply") from None
    except ValueError as error:
        raise ParseError(f"The request body is not valid JSON: {error}") from None
    # Only an escape can stand for a character that JSON text may not contain.
    _check_values(value, _CONTAINERS_AND_STRINGS if "\\u" in text else _CONTAINERS)
    return value


def dumps(value: Any) -> str:
    """The JSON text of a value, with exact decimals and stored texts as they are."""
    return _WRITER.encode(value)


# Creating an encoder costs more than encoding a short text.
_WRITER = simplejson.JSONEncoder(use_decimal=True, ensure_ascii=False, allow_nan=False)


class ExactNumber(Decimal):
    """A number that is written as it was read: 1e5 and not 1E+5, and -0 as an integer."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: str) -> ExactNumber:
        made = super().__new__(cls, text)
        made._text = str(text)
        return made

    def __str__(self) -> str:
        return self._text


def _parse_decimal(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    # Most readers use floats and would get an infinity.
    if isinf(float(text)):
        raise ValueError("a number is too large")
    try:
        return ExactNumber(text)
    except InvalidOperation:
        raise ValueError("the exponent of a number is too large") from None


def _parse_integer(text: str) -> int | Decimal:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    # An int has no negative zero.
    return ExactNumber(text) if text == "-0" else int(text)


def _reject_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _check_value_count(text: str) -> None:
    """Raise TooManyValues before parsing would create more values than memory allows."""
    limit = settings.SCHEDULER_MAX_BODY_VALUES
    # Every value but the first needs one of these characters. They may also occur in
    # strings, so only a scan finds the exact number.
    if text.count(",") + text.count("[") + text.count("{") < limit:
        return
    values = 1
    for mark in _VALUE_MARKS.finditer(text):
        values += mark.lastindex is not None
        if values > limit:
            raise TooManyValues(limit)


def _check_values(value: Any, looked_into: tuple[type, ...]) -> None:
    """Raise ParseError for values that cannot be stored. Iterates in the order of the text."""
    path = [iter((value,))]
    while path:
        for child in path[-1]:
            if isinstance(child, looked_into):
                path.append(iter(_children(child)))
                break
        else:
            path.pop()
        if len(path) > MAX_DEPTH + 1:
            raise ParseError("The request body is nested too deeply")


def _children(value: Any) -> Iterable[Any]:
    match value:
        case str():
            if _UNSTORABLE.search(value):
                raise ParseError(
                    "The request body has a character that cannot be stored: "
                    "NUL or half a surrogate pair"
                )
        case list():
            return value
        case dict():
            return chain.from_iterable(value.items())
    return ()


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else dumps(data).encode()


class AlwaysJSON(BaseContentNegotiation):
    """Treats every request and response as JSON, regardless of its headers."""

    def select_parser(
        self, request: Request, parsers: Iterable[BaseParser]
    ) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
