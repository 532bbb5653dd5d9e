"""Quotas with what is used of them, in words, for the pages of usage and of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.defaultfilters import filesizeformat

from accounts.models import Token, TokenBounds, User
from console.templatetags.console import exact
from tasks_api.services import request_quotas, usage
from tasks_api.services.usage import QuotaUse

# From so many percent on a page warns.
NEAR, NEARLY_ALL = 80, 99.9


class QuotaWords(NamedTuple):
    title: str
    # What becomes of what is beyond the quota; {} is the moment at which it resets.
    beyond: str
    beyond_now: str


WORDS: Mapping[str, QuotaWords] = {
    "tasks": QuotaWords(
        "Living tasks",
        "Beyond it, no task is stored.",
        "No task is stored before others end.",
    ),
    "runs_per_day": QuotaWords(
        "Runs a day", "Beyond it, runs wait.", "Runs wait until {}."
    ),
    "requests_per_minute": QuotaWords(
        "Requests a minute",
        "Beyond it, requests to the API are refused.",
        "Requests to the API are refused until {}.",
    ),
    "payload_bytes": QuotaWords(
        "Size of a payload", "Larger ones are refused.", "Larger ones are refused."
    ),
}


# The bounds of tokens are quotas, too; their day is any 24 hours.
WORDS_OF_TOKENS = {
    **WORDS,
    "runs_per_day": QuotaWords(
        "Requests in any 24 hours", "Beyond it, they wait.", "They wait until {}."
    ),
}


class QuotaRow(NamedTuple):
    """A quota as a row: its bar has a number beside it."""

    use: QuotaUse
    title: str
    limit: str
    beyond: str

    @property
    def is_near(self) -> bool:
        return self.use.percent is not None and self.use.percent >= NEAR

    @property
    def is_spent(self) -> bool:
        return self.use.percent is not None and self.use.percent >= 100

    @property
    def low(self) -> float:
        """Where the bar begins to warn."""
        return (self.use.limit or 0) * NEAR / 100

    @property
    def high(self) -> float:
        """Where the bar begins to look spent; browsers want more than this."""
        return (self.use.limit or 0) * NEARLY_ALL / 100


class TokenQuotas(NamedTuple):
    token: Token
    quotas: list[QuotaRow]

    @property
    def title(self) -> str:
        return f"Token {self.token.name or self.token.prefix}: "


def _rows_of(
    uses: Iterable[QuotaUse], words: Mapping[str, QuotaWords]
) -> list[QuotaRow]:
    """The rows of those that are quotas."""
    return [_row_of(use, words[use.name]) for use in uses if use.limit is not None]


def _row_of(use: QuotaUse, words: QuotaWords) -> QuotaRow:
    is_size = use.name == "payload_bytes"
    limit = filesizeformat(use.limit or 0) if is_size else intcomma(use.limit or 0)
    is_spent = use.percent is not None and use.percent >= 100
    beyond = words.beyond_now.format(exact(use.resets_at)) if is_spent else words.beyond
    return QuotaRow(use, words.title, str(limit), beyond)


def read_tenant(user: User, now: datetime) -> list[QuotaRow]:
    uses = usage.read_tenant_quotas(user, now=now)
    requests = usage.use_of_requests(request_quotas.read_tenant_requests(user))
    return _rows_of([*uses, requests], WORDS)


def read_tokens(tokens: Sequence[Token]) -> Iterator[TokenQuotas]:
    """The quotas of those of some tokens that have bounds."""
    bounded = [token for token in tokens if token.bounds is not None]
    rows = {token.bounds.pk: token.bounds for token in bounded if token.bounds}
    uses = read_bounds(list(rows.values()))
    for token in bounded:
        assert token.bounds is not None
        yield TokenQuotas(token, uses[token.bounds.pk])


def read_bounds(rows: Sequence[TokenBounds]) -> dict[int, list[QuotaRow]]:
    """The quotas of bounds by their ids."""
    found = usage.read_token_quotas(rows)
    requests = request_quotas.read_token_requests(rows)
    return {
        pk: _rows_of([*uses, usage.use_of_requests(requests.get(pk))], WORDS_OF_TOKENS)
        for pk, uses in found.items()
    }
