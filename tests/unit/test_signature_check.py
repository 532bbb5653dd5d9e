"""A pasted request is checked, and what is wrong with it is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tasks_api.domain import signature_check, signing
from tasks_api.domain.signature_check import KnownSecret, SignatureCheck

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29y"
OTHER = "whsec_" + "b3RoZXIgd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29y"
KNOWN = [
    KnownSecret("new", SECRET, is_live=True),
    KnownSecret("old", OTHER, is_live=False),
]
BODY = '{"hello": "wörld", "n": 1}'


def headers_of(
    body: str = BODY, secret: str = SECRET, age: timedelta = timedelta(seconds=2)
) -> str:
    timestamp = int((NOW - age).timestamp())
    signed = signing.signature([secret], "run-1", timestamp, body)
    return (
        f"Host: example.com\r\nWebhook-Id: run-1\r\n"
        f"webhook-timestamp: {timestamp}\r\nwebhook-signature: {signed}\r\n"
    )


def check(headers: str, body: str = BODY) -> SignatureCheck:
    return signature_check.check_signature(headers, body, KNOWN, now=NOW)


def test_a_request_as_it_was_sent_verifies() -> None:
    assert check(headers_of()) == SignatureCheck("new", [])


@pytest.mark.parametrize("sent", ["a\nb", "a\r\nb"])
def test_the_line_breaks_of_a_text_field_make_no_difference(sent: str) -> None:
    assert check(headers_of(sent), "a\r\nb") == SignatureCheck("new", [])


@pytest.mark.parametrize("prefix", ["> ", "< ", "  ", "'"])
def test_lines_of_tools_are_read(prefix: str) -> None:
    pasted = "\n".join(prefix + line for line in headers_of().splitlines())

    assert check(pasted).signed_by == "new"


def test_one_of_two_signatures_is_enough() -> None:
    headers = headers_of(secret=OTHER).rstrip()
    _, _, more = headers_of().rstrip().rpartition(" ")

    assert check(f"{headers} {more}").signed_by == "new"


@pytest.mark.parametrize(
    ("sent", "pasted", "problem"),
    [
        (BODY, f"{BODY}\n", signature_check.NO_LINE_END),
        (f"{BODY}\n", BODY, signature_check.LINE_END),
        (BODY, json.dumps(json.loads(BODY), indent=2), signature_check.REWRITTEN),
        (json.dumps(json.loads(BODY)), BODY, signature_check.REWRITTEN),
        ("", BODY, signature_check.EMPTY),
    ],
)
def test_a_body_that_was_changed_on_its_way_is_recognized(
    sent: str, pasted: str, problem: str
) -> None:
    assert check(headers_of(sent), pasted) == SignatureCheck("new", [problem])


@pytest.mark.parametrize("body", [BODY + "!", "[" * 100_000, "\x00"])
def test_another_body_does_not_verify(body: str) -> None:
    assert check(headers_of(), body) == SignatureCheck("", [signature_check.NO_MATCH])


def test_a_secret_that_has_ended_is_named() -> None:
    found = check(headers_of(secret=OTHER))

    assert found.signed_by == "old"
    assert found.problems == ["The secret old has ended: receivers may refuse it."]


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(minutes=6), "signed 6 minutes ago"),
        (timedelta(hours=5), "signed 5 hours ago"),
        (timedelta(days=3), "signed 3 days ago"),
        (timedelta(minutes=-7), "7 minutes in the future"),
    ],
)
def test_a_timestamp_that_is_off_is_said(age: timedelta, said: str) -> None:
    found = check(headers_of(age=age))

    assert found.signed_by == "new"
    [problem] = found.problems
    assert said in problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Webhook-Id: run-1", "", "The header webhook-id is missing."),
        ("webhook-signature", "signature", "The header webhook-signature is missing."),
        ("v1,", "v2,", "The version v2 is unknown: the service signs with v1."),
        ("=", "", "A signature is not 32 bytes in base64: it may have been cut off."),
        (
            "webhook-timestamp: ",
            "webhook-timestamp: ²",
            "webhook-timestamp is not a number of seconds since 1970.",
        ),
    ],
)
def test_headers_that_are_wrong_are_named(old: str, new: str, problem: str) -> None:
    assert check(headers_of().replace(old, new)) == SignatureCheck("", [problem])


def test_a_tenant_without_secrets_has_signed_nothing() -> None:
    found = signature_check.check_signature(headers_of(), BODY, [], now=NOW)

    assert found == SignatureCheck("", [signature_check.NO_MATCH])


def test_a_far_moment_is_no_error() -> None:
    headers = "webhook-id: a\nwebhook-timestamp: 999999999999\nwebhook-signature: v1,"

    assert check(headers + "A" * 43 + "=").signed_by == ""
