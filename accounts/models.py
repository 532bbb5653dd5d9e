"""Tenants, users, tokens, signing secrets, and the entries of the audit log."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import datetime
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from encrypted_fields.fields import EncryptedTextField

from accounts.cell_models import OwnCell as OwnCell
from accounts.cell_models import SplitStage as SplitStage
from accounts.fields import SealedUrlField
from accounts.quota_models import Plan as Plan
from accounts.quota_models import QuotaColumns
from accounts.quota_models import TokenBounds as TokenBounds
from accounts.roles import Role as Role

# Days in a century; more could lead to dates out of range.
MAX_RETENTION_DAYS = 36_500


class Tenant(QuotaColumns):
    """A customer; no user of one tenant sees what another one has.

    A quota of its own takes the place of its plan's.
    """

    name = models.CharField(max_length=100, unique=True)
    plan = models.ForeignKey(
        Plan,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="tenants",
        help_text="Quotas; those of the tenant itself take their place.",
    )
    callback_url = SealedUrlField(
        blank=True, help_text="Where the timers of this tenant are delivered."
    )
    notification_url = SealedUrlField(
        blank=True,
        default="",
        db_default="",
        help_text="Where this tenant is told that tasks were paused or ended for it.",
    )
    shared_secret_digest = models.CharField(
        max_length=64, unique=True, null=True, blank=True, editable=False
    )
    # Stored as well, because it is sent with each timer that is delivered.
    shared_secret = EncryptedTextField(null=True, blank=True, editable=False)
    max_in_flight = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Runs that one worker holds of this tenant; empty is the setting.",
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_RETENTION_DAYS)],
        help_text="Days that its history is kept; empty is the setting.",
    )
    # Since this moment nothing of the tenant changes here or is sent from here, because it
    # moves to another database, or has moved; null: it is at home here.
    frozen_at = models.DateTimeField(null=True, editable=False)
    # The name of that database, or of the file with which the tenant travels.
    moves_to = models.CharField(
        max_length=255, blank=True, default="", db_default="", editable=False
    )
    # The move that froze the tenant here, or that brought it here.
    move_id = models.UUIDField(null=True, editable=False)
    # When the tenant began to live in the other database; its rows here are waste.
    moved_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            # Read by workers of the release before: the tenants whose runs are counted.
            models.Index(
                fields=["id"],
                name="tenant_with_run_quota",
                condition=Q(plan__isnull=False) | Q(max_runs_per_day__isnull=False),
            ),
            # Read by retention: the tenants that keep their history for their own time,
            # and the shortest and the longest of these times.
            models.Index(
                fields=["id"],
                name="tenant_with_own_retention",
                condition=Q(retention_days__isnull=False),
            ),
            models.Index(
                fields=["retention_days"],
                name="tenant_by_retention",
                condition=Q(retention_days__isnull=False),
            ),
            # Read by beats: the few tenants that move.
            models.Index(
                fields=["id"],
                name="tenant_frozen",
                condition=Q(frozen_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Scope(models.TextChoices):
    """What a token may do; each scope includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, other: Scope) -> bool:
        return self.rank >= other.rank

    @property
    def rank(self) -> int:
        return list(Scope).index(self)


class User(AbstractUser):
    """A person of one tenant, or of none: the staff who run the service."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, null=True, blank=True, related_name="users"
    )
    # What the tenant calls the user; `username` is this and the tenant's name.
    name = models.CharField(max_length=150, blank=True)
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    # Whether this call may see and change what other users of the tenant have. Set by
    # `authentication`, because it depends on the role and the scope of the token.
    reaches_tenant = False
    # The bounds of the token of this call; None: it has none. Set by `authentication`.
    bounds: TokenBounds | None = None

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], name="user_name_once_per_tenant"
            )
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def manages_tenant(self) -> bool:
        """Whether this call may see and change the users and tokens of the tenant."""
        return self.reaches_tenant and self.role == Role.ADMIN

    def reaches(self, *, tenant_id: int, owner_id: int) -> bool:
        """Whether the user may see and change what this owner has."""
        return self.pk == owner_id or (
            self.reaches_tenant and self.tenant_id == tenant_id
        )


TOKEN_PREFIX = "sch_"  # noqa: S105 (the part that every token starts with)
# Of the random characters of a token, those at its end that nobody is shown.
HIDDEN_LENGTH = 35
# The random characters that are shown.
VISIBLE_LENGTH = 8


def generate_token(tenant_id: int | None) -> str:
    """A token names its tenant, so that a door in front of several cells can route it.

    It names no cell, because a tenant may move. A token of staff names nothing.
    """
    tenant = "" if tenant_id is None else f"{tenant_id}_"
    return f"{TOKEN_PREFIX}{tenant}{secrets.token_urlsafe(32)}"


def stored_prefix(clear_text: str, tenant_id: int | None) -> str:
    """Return what is kept of a token's text: eight random characters, and all before them.

    The name of a tenant is left out, as the row of the token has it.
    """
    shown = clear_text[:-HIDDEN_LENGTH]
    return shown if tenant_id is None else shown[-VISIBLE_LENGTH:]


def shown_prefix(stored: str, tenant_id: int | None) -> str:
    """Return the first characters of a token, as its owner knows them."""
    if len(stored) > VISIBLE_LENGTH:
        return stored
    return f"{TOKEN_PREFIX}{tenant_id}_{stored}"


def digest(clear_text: str) -> str:
    # A fast hash is enough: no dictionary contains 256 random bits, and a slow hash would
    # cost every API request.
    return hashlib.sha256(clear_text.encode("utf-8", "surrogatepass")).hexdigest()


class TokenQuerySet(models.QuerySet["Token"]):
    def live(self, now: datetime) -> Self:
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)

    def visible_to(self, user: User) -> Self:
        """The tokens of the user, or all of the tenant for its administrators."""
        if user.manages_tenant:
            return self.filter(user__tenant=user.tenant_id)
        return self.filter(user=user)


class Token(models.Model):
    """A bearer credential of one user; only its digest is stored."""

    # The id that clients see; they cannot guess the ids of other tokens.
    uuid = models.UUIDField(unique=True, editable=False, db_default=RandomUUID())
    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    # Copied from the user, so that all rows of a tenant can be found by its id alone. Null
    # for staff who belong to no tenant.
    tenant = models.ForeignKey(
        Tenant,
        models.DO_NOTHING,
        null=True,
        editable=False,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    name = models.CharField(max_length=100, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # The first characters of a token that names no tenant, and of others only the random
    # ones. The type of the column stays: each web reads it by a prepared statement.
    stored_prefix = models.CharField(
        "prefix", max_length=12, editable=False, db_column="prefix"
    )
    scope = models.CharField(max_length=5, choices=Scope, default=Scope.ADMIN)
    bounds = models.ForeignKey(
        TokenBounds, models.CASCADE, null=True, editable=False, related_name="tokens"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user}"

    @property
    def prefix(self) -> str:
        """The first characters of the token, to know it by."""
        return shown_prefix(self.stored_prefix, self.tenant_id)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self, now: datetime) -> Self:
        """Select invitations that somebody may still accept."""
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)


class Invitation(models.Model):
    """A link that lets one person into a tenant once; only its digest is stored."""

    uuid = models.UUIDField(unique=True, editable=False, db_default=RandomUUID())
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    # The user who chooses a password with it; null until a new user is added.
    user = models.ForeignKey(
        User, models.CASCADE, null=True, related_name="invitations"
    )
    # The name that the new user gets; empty lets the person choose.
    name = models.CharField(max_length=150, blank=True)
    email = models.EmailField(blank=True)
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = InvitationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"invitation of {self.name or 'somebody'} to {self.tenant}"


def mint_signing_secret() -> str:
    """A Standard Webhooks symmetric secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class SigningSecretQuerySet(models.QuerySet["SigningSecret"]):
    def live(self, now: datetime) -> Self:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))


class SigningSecret(models.Model):
    """A key that signs the requests of a tenant; during a rotation two are live."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="signing_secrets")
    secret = EncryptedTextField(default=mint_signing_secret, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = SigningSecretQuerySet.as_manager()

    def __str__(self) -> str:
        return f"signing secret {self.pk} of {self.tenant}"


class Via(models.TextChoices):
    """How an actor reached the service."""

    API = "api"
    ADMIN = "admin"
    COMMAND = "cli", "command line"
    CONSOLE = "console", "pages"
    SERVICE = "service"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def of_object(self, object_id: str) -> Self:
        return self.filter(
            Q(object_id=object_id)
            # Repeats the condition of the index, so that PostgreSQL uses it.
            | Q(object_ids__isnull=False, object_ids__contains=[object_id])
        )


class AuditEntry(models.Model):
    """One action of an actor, on one object of a tenant or on several.

    `audit.record` writes it, and a trigger refuses to change or delete it. It outlives
    its objects, so it has no foreign keys.
    """

    # UUIDv7, so that ids order entries by time.
    id = models.UUIDField(primary_key=True, editable=False)
    # Null for actions of staff who belong to no tenant.
    tenant = models.ForeignKey(
        Tenant,
        models.DO_NOTHING,
        null=True,
        related_name="audit_entries",
        db_index=False,
        db_constraint=False,
    )
    at = models.DateTimeField()
    # A username, or the name of what is no user, such as the command line.
    actor = models.CharField(max_length=150)
    via = models.CharField(max_length=7, choices=Via)
    token_prefix = models.CharField(max_length=32, blank=True)
    # The kind of the object and a verb, such as task.pause. Ordered by bytes, so that an
    # index finds all actions of a kind.
    action = models.CharField(max_length=40, db_collation="C")
    # Empty if there are several.
    object_id = models.CharField(max_length=255, blank=True)
    # All of them; null if there is one.
    object_ids = models.JSONField(null=True)
    count = models.PositiveIntegerField(default=1)
    # The old and the new value of each field; null if the action says everything.
    changes = models.JSONField(null=True)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            # For the log of a tenant, newest first.
            models.Index(F("tenant"), F("id").desc(), name="audit_of_tenant"),
            # For the log of one actor.
            models.Index(
                F("tenant"), F("actor"), F("id").desc(), name="audit_of_actor"
            ),
            # For the log of one action, except for the most frequent one, whose entries
            # are found without an index.
            models.Index(
                F("tenant"),
                F("action"),
                F("id").desc(),
                name="audit_of_action",
                condition=~Q(action="task.create"),
            ),
            # For the log of one object, alone and among others.
            models.Index(
                fields=["tenant", "object_id"],
                name="audit_of_object",
                condition=~Q(object_id=""),
            ),
            GinIndex(
                fields=["object_ids"],
                opclasses=["jsonb_path_ops"],
                name="audit_of_objects",
                condition=Q(object_ids__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor} at {self.at:%Y-%m-%d %H:%M:%S}"
