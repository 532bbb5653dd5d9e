"""A change that asks first: the same form, sent again with `confirmed`, makes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.http import HttpResponse
from django.shortcuts import render

from console.pages import MemberRequest


class Question(NamedTuple):
    question: str
    consequence: str
    # What the button says.
    verb: str
    # The URL to which the change can be left.
    back: str
    # What is changed.
    names: Iterable[str] = ()
    # The fields of the form that are sent again.
    kept: Iterable[tuple[str, object]] = ()


def is_confirmed(request: MemberRequest) -> bool:
    return "confirmed" in request.POST


def ask(request: MemberRequest, question: Question) -> HttpResponse:
    return render(request, "console/confirm.html", question._asdict())
