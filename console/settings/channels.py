"""Create, change, test and remove the channels of a tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_http_methods, require_POST

from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_admins
from console.settings.channel_forms import (
    KIND_HELP,
    KIND_LABELS,
    ChannelForm,
    offered_kinds,
)
from scheduler_service.db import clock
from tasks_api.domain.exceptions import (
    ChannelExists,
    ChannelNotFound,
    InvalidState,
    SchedulerError,
)
from tasks_api.domain.notices import ChannelKind, ChannelSettings
from tasks_api.services import channels, rules


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def new_channel(request: MemberRequest) -> HttpResponse:
    offered = offered_kinds()
    if request.GET.get("kind") not in {kind for kind, *_ in offered}:
        context = {"kinds": offered}
        return render(request, "console/settings/channel_kinds.html", context)
    kind = ChannelKind(request.GET["kind"])
    form = ChannelForm(request.POST or None, kind=kind)
    if form.is_valid() and _create(request, kind, form):
        return redirect("console-notifications")
    return _render_form(request, form, kind)


def _render_form(
    request: MemberRequest, form: ChannelForm, kind: ChannelKind, channel: Any = None
) -> HttpResponse:
    context = {
        "form": form,
        "channel": channel,
        "kind": KIND_LABELS[kind],
        "kind_help": KIND_HELP[kind],
    }
    return render(request, "console/settings/channel.html", context)


def _create(request: MemberRequest, kind: ChannelKind, form: ChannelForm) -> bool:
    try:
        made = channels.create_channel(
            request.user, kind=kind, settings=form.settings, fields=form.columns
        )
    except (ChannelExists, InvalidState) as refusal:
        _show_refusal(form, refusal)
        return False
    messages.success(request, f"{made.name} is there. Send a test, then make a rule.")
    return True


def _show_refusal(form: ChannelForm, refusal: SchedulerError) -> None:
    field = "name" if isinstance(refusal, ChannelExists) else None
    form.add_error(field, f"{refusal}.")


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def edit_channel(request: MemberRequest, channel_id: str) -> HttpResponse:
    channel = _find(request, channel_id)
    kind = ChannelKind(channel.kind)
    initial = {name: getattr(channel, name) for name in _COLUMNS}
    form = ChannelForm(
        request.POST or None, kind=kind, stored=_stored(channel), initial=initial
    )
    if form.is_valid() and _change(request, channel.pk, form):
        return redirect("console-notifications")
    return _render_form(request, form, kind, channel)


_COLUMNS = ("name", "max_per_hour", "is_paused")


def _stored(channel: Any) -> ChannelSettings | None:
    """The settings of a channel; None if SECRET_KEY does not decrypt them."""
    try:
        found: ChannelSettings = channel.settings
    except ValueError:
        return None
    return found


def _change(request: MemberRequest, channel_id: UUID, form: ChannelForm) -> bool:
    try:
        changed = channels.change_channel(
            request.user, channel_id, settings=form.settings, fields=form.columns
        )
    except (ChannelExists, InvalidState) as refusal:
        _show_refusal(form, refusal)
        return False
    messages.success(request, f"{changed.name} is changed.")
    return True


@for_admins
@require_POST
def test_channel(request: MemberRequest, channel_id: str) -> HttpResponse:
    channel = _find(request, channel_id)
    try:
        channels.send_test(request.user, channel.pk, now=clock.now())
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
    else:
        messages.success(
            request,
            f"A test message to {channel.name} is on its way; see what was sent below.",
        )
    return redirect("console-notifications")


@for_admins
@require_POST
def remove_channel(request: MemberRequest, channel_id: str) -> HttpResponse:
    channel = _find(request, channel_id)
    if is_confirmed(request):
        return _remove(request, channel)
    return _ask(request, channel)


def _remove(request: MemberRequest, channel: Any) -> HttpResponse:
    try:
        channels.remove_channel(request.user, channel.pk, now=clock.now())
    except InvalidState as refusal:
        messages.error(request, f"{refusal}.")
    else:
        messages.success(request, f"{channel.name} is removed.")
    return redirect("console-notifications")


def _ask(request: MemberRequest, channel: Any) -> HttpResponse:
    of_tenant = rules.list_with_names(request.tenant)
    count = sum(rule.channel_id == channel.pk for rule in of_tenant)
    question = Question(
        question=f"Remove the channel {channel.name}?",
        consequence=f"Its {count} rule{pluralize(count)} and its unsent messages go "
        "with it.",
        verb="Remove the channel",
        back="/app/settings/notifications/",
    )
    return ask(request, question)


def _find(request: MemberRequest, channel_id: str) -> Any:
    try:
        return channels.get_channel(request.tenant, UUID(channel_id))
    except ChannelNotFound:
        raise Http404 from None
