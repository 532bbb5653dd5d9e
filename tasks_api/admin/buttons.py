"""Buttons on the page of a row, each of which does what an action of the list does."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

# A button's form has it, so that the action leads back to the page of the row.
FROM_PAGE = "from_page"


class ButtonsMixin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The actions that the user may take as buttons, on the page of a row."""

    change_form_template = "admin/tasks_api/buttons.html"
    # What a button says, by the action.
    buttons: ClassVar[dict[str, str]] = {}

    def offered_buttons(self, request: HttpRequest, row: Any) -> set[str]:
        """The actions that make sense for a row."""
        return set(self.buttons)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        offered = self.offered_buttons(request, row) if row is not None else set()
        allowed = self.get_actions(request).keys() & offered
        context["buttons"] = [
            (action, text) for action, text in self.buttons.items() if action in allowed
        ]
        context["actions_url"] = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def response_action(  # type: ignore[override]  # the stubs are those of a later Django
        self, request: HttpRequest, queryset: Any
    ) -> Any:
        response = super().response_action(request, queryset)
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        is_done = isinstance(response, HttpResponseRedirect)
        if not is_done or FROM_PAGE not in request.POST or len(chosen) != 1:
            return response
        page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return HttpResponseRedirect(reverse(page, args=chosen))
