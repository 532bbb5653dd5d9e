"""Say whether a signature of a request verifies, and what is wrong with it if not."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tasks_api.domain import signing

# What receivers tolerate; see docs/how-to/receiving.md.
TOLERANCE = timedelta(minutes=5)
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
DIGEST_BYTES = 32
# As in verbose output of curl and in code.
_LINE = re.compile(r"^[\s<>*'\"]*([A-Za-z0-9-]+)['\"]?\s*:\s*(.*?)[\s'\",]*$")

REWRITTEN = (
    "It matches the same JSON with other white space: a program has parsed the body and "
    "written it anew. Verify the bytes as they arrived."
)
NO_LINE_END = "It matches the body without the line break at its end."
LINE_END = "It matches the body with a line break at its end."
EMPTY = "It matches an empty body: the request had none."
NO_MATCH = (
    "No secret of your tenant matches. The body, the id or the timestamp was changed, or "
    "somebody else has signed the request."
)


class KnownSecret(NamedTuple):
    """A signing secret, and the name by which people know it."""

    name: str
    secret: str
    is_live: bool


@dataclass(frozen=True)
class SignatureCheck:
    """`signed_by` is the name of the secret that signed the request, or empty.

    A receiver accepts the request now if there are no problems.
    """

    signed_by: str
    problems: Sequence[str]


class _Request(NamedTuple):
    run_id: str
    timestamp: int
    given: frozenset[str]


def check_signature(
    headers: str, body: str, secrets: Sequence[KnownSecret], *, now: datetime
) -> SignatureCheck:
    """Check a request whose header lines and body somebody has pasted."""
    read = _read_headers(headers)
    problems = list(_find_malformed(read))
    if problems:
        return SignatureCheck("", problems)
    request = _Request(
        read[ID], int(read[TIMESTAMP]), frozenset(read[SIGNATURE].split())
    )
    signer, problem = _find_signer(request, body, secrets)
    found = [problem, _find_age_problem(request.timestamp, now)]
    if signer and not signer.is_live:
        found.append(f"The secret {signer.name} has ended: receivers may refuse it.")
    return SignatureCheck(
        signer.name if signer else "", [each for each in found if each]
    )


def _read_headers(text: str) -> Mapping[str, str]:
    lines = (_LINE.match(line) for line in text.splitlines())
    return {each[1].lower(): each[2] for each in lines if each}


def _find_malformed(headers: Mapping[str, str]) -> Iterator[str]:
    for name in (ID, TIMESTAMP, SIGNATURE):
        if not headers.get(name):
            yield f"The header {name} is missing."
    timestamp = headers.get(TIMESTAMP, "")
    if timestamp and not re.fullmatch("[0-9]{1,11}", timestamp, re.ASCII):
        yield f"{TIMESTAMP} is not a number of seconds since 1970."
    signatures = headers.get(SIGNATURE, "").split()
    versions = {each.partition(",")[0] for each in signatures}
    if signatures and "v1" not in versions:
        yield f"The version {min(versions)[:20]} is unknown: the service signs with v1."
    elif any(_is_cut(each) for each in signatures if each.startswith("v1,")):
        yield "A signature is not 32 bytes in base64: it may have been cut off."


def _is_cut(signature: str) -> bool:
    try:
        return len(b64decode(signature[3:], validate=True)) != DIGEST_BYTES
    except NotBase64:
        return True


def _find_signer(
    request: _Request, body: str, secrets: Sequence[KnownSecret]
) -> tuple[KnownSecret | None, str]:
    """The secret that signed a request, and what is wrong with its body."""
    for problem, text in _variants(body):
        for each in secrets:
            signed = signing.signature(
                [each.secret], request.run_id, request.timestamp, text
            )
            if signed in request.given:
                return each, problem
    return None, NO_MATCH


def _variants(pasted: str) -> Iterator[tuple[str, str]]:
    """What the body may have been, and what that says about the pasted one."""
    # Browsers send the line breaks of a text field as CRLF, whatever they were.
    body = pasted.replace("\r\n", "\n")
    yield "", body
    yield "", body.replace("\n", "\r\n")
    yield NO_LINE_END, body.rstrip("\n")
    yield LINE_END, f"{body}\n"
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        pass
    else:
        yield REWRITTEN, json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))
        for ensure_ascii in (False, True):
            yield REWRITTEN, json.dumps(parsed, ensure_ascii=ensure_ascii)
    yield EMPTY, ""


def _find_age_problem(timestamp: int, now: datetime) -> str:
    age = now - datetime.fromtimestamp(timestamp, UTC)
    if age > TOLERANCE:
        return (
            f"The request was signed {_say(age)} ago. Receivers refuse a timestamp that is "
            "more than five minutes off, so that nobody repeats old requests."
        )
    if age < -TOLERANCE:
        return f"The timestamp is {_say(-age)} in the future. Compare your clocks."
    return ""


def _say(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 2 * 60:
        return f"{minutes} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 2 * 24 else f"{hours // 24} days"
