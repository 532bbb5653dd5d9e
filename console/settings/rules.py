"""Create, change and remove the rules of a tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from console.confirmation import Question, ask, is_confirmed
from console.pages import MemberRequest, for_admins
from console.settings.rule_forms import RuleForm
from tasks_api.domain.exceptions import InvalidState, InvalidTask, RuleNotFound
from tasks_api.services import channels, rules

_COLUMNS = (
    *("channel_id", "events", "tag", "streak", "late_after", "digest_seconds"),
    *("quiet_from", "quiet_until", "quiet_zone", "is_paused"),
)


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def new_rule(request: MemberRequest) -> HttpResponse:
    form = _make_form(request, {"channel_id": request.GET.get("channel", "")})
    if form.is_valid() and _save(request, form):
        return redirect("console-notifications")
    return render(request, "console/settings/rule.html", {"form": form})


@for_admins
@require_http_methods(["GET", "HEAD", "POST"])
def edit_rule(request: MemberRequest, rule_id: str) -> HttpResponse:
    rule = _find(request, rule_id)
    initial = {name: getattr(rule, name) for name in _COLUMNS}
    form = _make_form(request, {**initial, "task": _name_task(rule)})
    if form.is_valid() and _save(request, form, rule.pk):
        return redirect("console-notifications")
    return render(request, "console/settings/rule.html", {"form": form, "rule": rule})


def _make_form(request: MemberRequest, initial: dict[str, Any]) -> RuleForm:
    found = channels.list_channels(request.tenant).order_by("name")
    return RuleForm(request.POST or None, channels=found, initial=initial)


def _name_task(rule: Any) -> str:
    if rule.task_id is None:
        return ""
    return rule.task.name if rule.task and rule.task.name else str(rule.task_id)


def _save(request: MemberRequest, form: RuleForm, rule_id: UUID | None = None) -> bool:
    try:
        columns = {**form.columns, "task_id": _find_task(request, form)}
        if rule_id is None:
            rules.create_rule(request.user, columns)
        else:
            rules.change_rule(request.user, rule_id, columns)
    except InvalidTask as refusal:
        name = "task" if refusal.field == "task_id" else refusal.field
        form.add_error(name if name in form.fields else None, f"{refusal}.")
        return False
    except InvalidState as refusal:
        form.add_error(None, f"{refusal}.")
        return False
    messages.success(request, "The rule is stored. It counts within five seconds.")
    return True


def _find_task(request: MemberRequest, form: RuleForm) -> UUID | None:
    text = form.cleaned_data["task"]
    return rules.find_task(request.tenant, text) if text else None


@for_admins
@require_POST
def remove_rule(request: MemberRequest, rule_id: str) -> HttpResponse:
    rule = _find(request, rule_id)
    if not is_confirmed(request):
        return _ask(request, rule)
    rules.remove_rule(request.user, rule.pk)
    messages.success(request, "The rule is removed.")
    return redirect("console-notifications")


def _ask(request: MemberRequest, rule: Any) -> HttpResponse:
    question = Question(
        question="Remove the rule?",
        consequence=f"{rule.channel.name} is not told of these events any more, "
        "unless another rule asks for them:",
        names=rule.events,
        verb="Remove the rule",
        back="/app/settings/notifications/",
    )
    return ask(request, question)


def _find(request: MemberRequest, rule_id: str) -> Any:
    try:
        return rules.get_rule(request.tenant, UUID(rule_id))
    except RuleNotFound:
        raise Http404 from None
