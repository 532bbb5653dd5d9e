"""Tenants and users in the admin; secrets are shown once, when they are created."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from allauth.account.decorators import secure_admin_login
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts import audit, services, url_credentials
from accounts.access.permissions import may_change_tenant, may_change_user
from accounts.activity import report_activity
from accounts.admin.forms import form_changes
from accounts.admin.tokens import TokenAdmin
from accounts.models import Role, SigningSecret, Tenant, Token, User, digest
from accounts.services.quotas import QUOTA_NAMES
from scheduler_service.db import clock

admin.site.unregister(Group)
# The page on which everybody logs in, with the second factor of those who have one.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents it


Value = TypeVar("Value")


def _validated(parse: Callable[[], Value]) -> Value:
    try:
        return parse()
    except services.AccountError as error:
        raise forms.ValidationError(str(error)) from None


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    new_shared_secret = forms.CharField(
        required=False,
        strip=False,
        help_text="Identifies this tenant to the timer API. Empty keeps the present one.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Tenant
        fields = (
            "name",
            "callback_url",
            "notification_url",
            "max_in_flight",
            "retention_days",
            "plan",
            *QUOTA_NAMES,
        )
        widgets = {
            name: forms.TextInput(attrs={"class": "vTextField"})
            for name in ("callback_url", "notification_url")
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.Meta.widgets:
            self.initial[name] = url_credentials.mask(getattr(self.instance, name))

    def clean_name(self) -> str:
        """The name, which no tenant of another cell has either."""
        name: str = self.cleaned_data["name"]
        if self.instance.pk is None:
            self.reserved_id = _validated(lambda: services.reserve_tenant_id(name))
        elif name != self.instance.name:
            _validated(lambda: services.rename_tenant(self.instance, name))
        return name

    def clean_callback_url(self) -> str:
        url = self.cleaned_data["callback_url"]
        return _validated(lambda: services.parse_callback_url(self.instance, url))

    def clean_notification_url(self) -> str:
        url = self.cleaned_data["notification_url"]
        return _validated(lambda: services.parse_notification_url(self.instance, url))

    def clean_new_shared_secret(self) -> str:
        secret: str = self.cleaned_data["new_shared_secret"]
        others = Tenant.objects.exclude(pk=self.instance.pk)
        if secret and others.filter(shared_secret_digest=digest(secret)).exists():
            raise forms.ValidationError("Another tenant has this shared secret.")
        _validated(lambda: services.check_shared_secret(secret))
        return secret


class SigningSecretInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    """The dates of each secret; `manage.py signing_secret` prints the newest one."""

    model = SigningSecret
    fields = readonly_fields = ("created_at", "expires_at")
    ordering = ("-created_at",)
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Tenant)
class TenantAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    form = TenantForm
    fieldsets = (
        (
            None,
            {
                "fields": (*TenantForm.Meta.fields, "new_shared_secret"),
                "description": "manage.py delete_tenant NAME deletes a tenant.",
            },
        ),
    )
    list_display: tuple[str, ...] = ("name", "masked_callback_url", "created_at")
    search_fields = ("name",)
    show_full_result_count = False
    inlines = [SigningSecretInline]
    actions = ["rotate_signing_secrets"]

    @admin.display(description="callback URL", ordering="callback_url")
    def masked_callback_url(self, tenant: Tenant) -> str:
        return url_credentials.mask(tenant.callback_url)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Tenant | None:
        """Mask credentials for users who may only view: the admin shows them the row itself."""
        tenant: Tenant | None = super().get_object(request, object_id, from_field)
        if tenant is not None and not self.has_change_permission(request, tenant):
            for name in TenantForm.Meta.widgets:
                setattr(
                    tenant,
                    name,
                    url_credentials.mask(getattr(tenant, name)),
                )
        return tenant

    # Deletion would delete all its history; deactivate its users instead.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Tenant | None = None
    ) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_change_tenant(request.user, obj.pk))

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        is_secret = lookup.startswith("shared_secret")
        return not is_secret and super().lookup_allowed(lookup, value, request)

    def save_model(
        self, request: HttpRequest, obj: Tenant, form: TenantForm, change: bool
    ) -> None:
        if change:
            obj.save()
        else:
            obj.pk = form.reserved_id
            obj.save(force_insert=True)
        changes = form_changes(form)
        action = "tenant.change" if change else "tenant.create"
        audit.record(obj.pk, action, [obj.name] if changes else [], changes)
        if secret := form.cleaned_data["new_shared_secret"]:
            services.configure_tenant(obj.name, shared_secret=secret)
        if not change:
            self._rotate(request, obj)

    @admin.action(
        description="Rotate the signing secrets of selected tenants",
        permissions=["rotate"],
    )
    def rotate_signing_secrets(self, request: HttpRequest, queryset: Any) -> None:
        for tenant in queryset:
            if self.has_change_permission(request, tenant):
                self._rotate(request, tenant)
            else:
                messages.error(request, f"You may not change {tenant}.")

    def _rotate(self, request: HttpRequest, tenant: Tenant) -> None:
        secret = services.rotate_signing_secret(tenant, now=clock.now())
        messages.warning(
            request, f"The new signing secret of {tenant}, shown only now: {secret}"
        )


class NewUserForm(AdminUserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    name = forms.CharField(max_length=150)

    class Meta:
        model = User
        fields = ("tenant", "name", "role")

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if "name" not in data or "tenant" not in data:
            return data
        try:
            username = services.compose_username(data["name"], data["tenant"])
        except services.AccountError as refusal:
            raise forms.ValidationError(str(refusal)) from None
        if User.objects.filter(username=username).exists():
            raise forms.ValidationError(f"There is a user {username} already.")
        self.instance.username = username
        return data


# Whoever may set these may do anything.
RANK_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(BaseUserAdmin):  # type: ignore[type-arg]  # not generic at run time
    add_form = NewUserForm
    list_display = ("username", "tenant", "name", "role", "is_active", "is_staff")
    list_filter = ("role", "is_active", "is_staff")
    list_select_related = ("tenant",)
    search_fields = ("username", "name", "tenant__name", "email")
    show_full_result_count = False
    autocomplete_fields = ("tenant",)
    actions = ["deactivate", "activate", "make_admin", "make_member"]
    fieldsets = (
        (
            None,
            {
                "fields": ("username", "tenant", "name", "role", "password"),
                "description": "manage.py delete_user NAME deletes a user of a tenant.",
            },
        ),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Permissions",
            {
                "fields": (
                    "is_active",
                    "is_staff",
                    "is_superuser",
                    "groups",
                    "user_permissions",
                )
            },
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": (
                    "tenant",
                    "name",
                    "role",
                    "usable_password",
                    "password1",
                    "password2",
                )
            },
        ),
    )

    def has_change_permission(
        self, request: HttpRequest, obj: User | None = None
    ) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or may_change_user(request.user, obj))

    # The tasks of a user belong to the tenant, and `issue_token` finds the user by these.
    def get_readonly_fields(
        self, request: HttpRequest, obj: User | None = None
    ) -> tuple[str, ...]:
        fixed = ("username", "tenant", "name") if obj else ()
        is_superuser = isinstance(request.user, User) and request.user.is_superuser
        return fixed if is_superuser else (*fixed, *RANK_FIELDS)

    def save_model(
        self, request: HttpRequest, obj: User, form: Any, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        changes, name = form_changes(form), services.name_in_audit(obj)
        action = "user.change" if change else "user.add"
        audit.record(obj.tenant_id, action, [name] if changes else [], changes)
        if "is_active" in changes:
            report_activity(obj)

    # One transaction for the change and its entry in the audit log.
    @transaction.atomic
    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        before = User.objects.filter(pk=id).first() if id.isdigit() else None
        response = super().user_change_password(request, id, form_url)
        after = before and User.objects.get(pk=before.pk)
        if before and after and before.password != after.password:
            changes = {"password": (audit.REDACTED, audit.REDACTED)}
            name = services.name_in_audit(after)
            audit.record(after.tenant_id, "user.change", [name], changes)
        return response

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    @admin.action(description="Deactivate selected users", permissions=["operate"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._change(request, queryset, is_active=False)

    @admin.action(description="Activate selected users", permissions=["operate"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._change(request, queryset, is_active=True)

    @admin.action(
        description="Make selected users administrators of their tenants",
        permissions=["operate"],
    )
    def make_admin(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._change(request, queryset, role=Role.ADMIN)

    @admin.action(description="Make selected users members", permissions=["operate"])
    def make_member(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._change(request, queryset, role=Role.MEMBER)

    @transaction.atomic
    def _change(
        self, request: HttpRequest, queryset: QuerySet[User], **changes: Any
    ) -> None:
        allowed = [
            u for u in queryset.order_by("pk") if may_change_user(request.user, u)
        ]
        for user in allowed:
            services.change_user(user, **changes)
        messages.success(request, f"{len(allowed)} changed.")
        for user in set(queryset).difference(allowed):
            messages.error(request, f"You may not change {user}.")

    # Deletion would delete the tasks of the user; deactivate the user instead.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin):
    """Only superusers change groups, because a group gives permissions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, User) and request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)


admin.site.register(Token, TokenAdmin)
