"""Tokens in the admin: shown once, and never with more rights than their creator has."""

from __future__ import annotations

import json
import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit, services
from accounts.access.permissions import may_change_user, may_create_token
from accounts.admin.forms import form_changes
from accounts.models import TOKEN_PREFIX, Scope, Tenant, Token
from scheduler_service.db import clock

TENANT_OF_TOKEN = re.compile(rf"\b{TOKEN_PREFIX}\d+_")


class TokenForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    # The user of the request; set by TokenAdmin.get_form().
    staff: Any = None

    class Meta:
        model = Token
        fields = ("user", "name", "scope", "expires_at")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if "user" in data and "scope" in data:
            owner, scope = data["user"], Scope(data["scope"])
            if not may_create_token(self.staff, owner, scope):
                raise forms.ValidationError(
                    f"You may not have a token of scope {scope} of {owner}: "
                    "it could do what you may not."
                )
        return data


class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    list_display = (
        "prefix",
        "user",
        "tenant",
        "name",
        "scope",
        "shown_bounds",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
    )
    form = TokenForm
    list_select_related = ("user__tenant", "bounds")
    search_fields = ("stored_prefix", "name", "user__username", "user__tenant__name")
    show_full_result_count = False
    autocomplete_fields = ("user",)
    actions = ["rotate", "revoke"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        given = ("user", "name", "scope", "expires_at")
        kept = ("prefix", "created_at", "revoked_at", "last_used_at")
        return given + kept if obj else given

    def get_readonly_fields(
        self, request: HttpRequest, obj: Any = None
    ) -> tuple[str, ...]:
        kept = ("prefix", "created_at", "revoked_at", "last_used_at")
        fields = ("user", "scope", *kept)
        return fields if obj else ()

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        return type("TokenForm", (form,), {"staff": request.user})

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        is_secret = lookup.startswith("digest")
        return not is_secret and super().lookup_allowed(lookup, value, request)

    def has_change_permission(
        self, request: HttpRequest, obj: Token | None = None
    ) -> bool:
        allowed = super().has_change_permission(request, obj)
        if obj is None:
            return allowed
        return allowed and may_create_token(request.user, obj.user, Scope(obj.scope))

    # A revoked token stays, as a record of its owner.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Token], search_term: str
    ) -> tuple[QuerySet[Token], bool]:
        # The name of a tenant at the beginning of a token is not stored with it.
        term = TENANT_OF_TOKEN.sub("", search_term)
        return super().get_search_results(request, queryset, term)

    @admin.display(description="tenant", ordering="user__tenant__name")
    def tenant(self, token: Token) -> Tenant | None:
        return token.user.tenant

    @admin.display(description="bounds", empty_value="none")
    def shown_bounds(self, token: Token) -> str | None:
        if token.bounds is None:
            return None
        return json.dumps(services.show_bounds(token.bounds))

    def save_model(
        self,
        request: HttpRequest,
        obj: Token,
        form: forms.BaseModelForm[Token],
        change: bool,
    ) -> None:
        if change:
            # Saving all fields could undo a concurrent revocation.
            obj.save(update_fields=["name", "expires_at"])
            if changes := form_changes(form):
                audit.record(obj.user.tenant_id, "token.change", [obj.uuid], changes)
            return
        token, clear_text = services.create_token(
            obj.user, name=obj.name, expires_at=obj.expires_at, scope=Scope(obj.scope)
        )
        obj.pk = token.pk
        obj.refresh_from_db()
        messages.warning(request, f"The new token, shown only now: {clear_text}")

    @admin.action(
        description="Rotate selected tokens; the old ones live on for a day",
        permissions=["revoke"],
    )
    def rotate(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        for token in queryset.select_related("user"):
            if not self.has_change_permission(request, token):
                messages.error(request, f"{token}: it could do what you may not.")
                continue
            try:
                _, clear_text = services.rotate_token(token, now=clock.now())
            except services.AccountError as refusal:
                messages.error(request, f"{token}: {refusal}")
            else:
                text = f"The new token of {token.user}, shown only now: {clear_text}"
                messages.warning(request, text)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        tokens = queryset.select_related("user")
        allowed = [
            token.pk for token in tokens if may_change_user(request.user, token.user)
        ]
        found = Token.objects.filter(pk__in=allowed)
        count = services.revoke_tokens(found, now=clock.now())
        messages.success(request, f"{count} revoked.")
        if len(allowed) < len(tokens):
            text = f"{len(tokens) - len(allowed)} are of users whom you may not change."
            messages.error(request, text)
