"""The views of pull queues: all of them, the messages of one, and what puts it in order."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_admins, for_members, render_unless_seen
from console.queues.forms import MessageForm, MessagesForm, QueueForm
from tasks_api.domain.message_states import MessageState
from tasks_api.services import queues
from tasks_api.services.queues import MAX_CHANGED, Queue

QUEUES_PER_PAGE, MESSAGES_PER_PAGE = 20, 50


class StateLook(NamedTuple):
    """The class that colours a state, the shape beside the colour, and its words."""

    css_class: str
    shape: str
    title: str
    explanation: str


LOOKS = {
    MessageState.READY: StateLook(
        "waiting", "◌", "ready", "The next consumer gets the first of them."
    ),
    MessageState.LATER: StateLook(
        "left-out", "○", "for later", "Their time to be handed out is still to come."
    ),
    MessageState.IN_FLIGHT: StateLook(
        "delivered", "●", "in flight", "Consumers have leased them."
    ),
    MessageState.RETURNING: StateLook(
        "missed",
        "▲",
        "coming back",
        "Their leases ran out, and they have retries left.",
    ),
    MessageState.EXHAUSTED: StateLook(
        "failed",
        "✕",
        "exhausted",
        "Their last leases ran out. The next fetch deletes them.",
    ),
}


class Figure(NamedTuple):
    """The number of messages of a queue in a state, and the list that it counts."""

    state: MessageState
    look: StateLook
    total: int
    is_cut_off: bool
    url: str


def _figures(queue: Queue) -> list[Figure]:
    return [
        Figure(
            state,
            look,
            queue.count(state),
            queue.is_cut_off(state),
            _queue_url(queue.queue, state),
        )
        for state, look in LOOKS.items()
    ]


def _queue_url(queue: str, state: MessageState = MessageState.READY) -> str:
    return f"{reverse('console-queue')}?{urlencode({'queue': queue, 'state': state})}"


@for_members
@require_safe
def queue_list(request: MemberRequest) -> HttpResponse:
    after = request.GET.get("after", "").replace("\0", "")
    page = queues.list_queues(request.tenant, after=after, limit=QUEUES_PER_PAGE)
    rows = [(queue, _figures(queue)) for queue in page.queues]
    template = (
        "console/queues/_list.html" if request.htmx else "console/queues/list.html"
    )
    context = {
        "rows": rows,
        "after": page.after,
        "looks": LOOKS.values(),
        "api": request.build_absolute_uri("/").rstrip("/"),
    }
    return render_unless_seen(request, repr(page), template, lambda: context)


@for_members
@require_safe
def queue_detail(request: MemberRequest) -> HttpResponse:
    form = MessagesForm(request.GET)
    if not form.is_valid():
        raise Http404
    context = _messages_context(request, form.cleaned_data)
    return render(request, "console/queues/queue.html", context)


def _messages_context(request: MemberRequest, asked: dict[str, Any]) -> dict[str, Any]:
    name, state = asked["queue"], asked["state"]
    queue = queues.read_queue(request.tenant, name)
    page = queues.peek(
        request.tenant, name, state, after=asked["after"], limit=MESSAGES_PER_PAGE
    )
    return {
        "queue": queue,
        "state": state,
        "look": LOOKS[state],
        "figures": _figures(queue),
        "found": page.messages,
        "after": page.after and page.after.to_text(),
    }


@for_members
@require_POST
def requeue(request: MemberRequest) -> HttpResponse:
    queue = _posted(QueueForm(request.POST))["queue"]
    count = queues.requeue_exhausted(request.tenant, queue)
    verb = pluralize(count, "waits,wait")
    _say(request, count, f"{verb} again, with all retries.")
    return redirect(_queue_url(queue))


@for_members
@require_POST
def delete_message(request: MemberRequest) -> HttpResponse:
    asked = _posted(MessageForm(request.POST))
    if not is_confirmed(request):
        return _ask_to_delete(request, **asked)
    queues.delete_message(request.tenant, asked["queue"], asked["message"])
    messages.success(request, f"The message {asked['message']} is deleted.")
    return redirect(_queue_url(asked["queue"]))


def _ask_to_delete(request: MemberRequest, queue: str, message: str) -> HttpResponse:
    question = Question(
        question=f"Delete the message {message}?",
        consequence=f"No consumer of {queue} gets it, and one that is at work on it "
        "cannot complete it.",
        verb="Delete the message",
        kept=[("queue", queue), ("message", message)],
        back=_queue_url(queue),
    )
    return ask(request, question)


@for_admins
@require_POST
def purge(request: MemberRequest) -> HttpResponse:
    queue = _posted(QueueForm(request.POST))["queue"]
    if not is_confirmed(request):
        return _ask_to_purge(request, queues.read_queue(request.tenant, queue))
    count = queues.purge_queue(request.tenant, queue)
    _say(request, count, f"{pluralize(count, 'is,are')} deleted.")
    return redirect(_queue_url(queue))


def _ask_to_purge(request: MemberRequest, queue: Queue) -> HttpResponse:
    question = Question(
        question=f"Delete all messages of {queue.queue}?",
        consequence="No consumer gets them. Work that is under way goes on, and cannot "
        "be completed. This cannot be undone.",
        names=[
            f"{count:,}{'+' if is_cut_off else ''} {look.title}"
            for _, look, count, is_cut_off, _ in _figures(queue)
            if count
        ],
        verb="Delete all messages",
        kept=[("queue", queue.queue)],
        back=_queue_url(queue.queue),
    )
    return ask(request, question)


def _posted(form: QueueForm) -> dict[str, Any]:
    if not form.is_valid():
        raise Http404
    return form.cleaned_data


def _say(request: MemberRequest, count: int, what: str) -> None:
    more = " More may be left: do it again." if count == MAX_CHANGED else ""
    messages.success(request, f"{count:,} message{pluralize(count)} {what}{more}")
