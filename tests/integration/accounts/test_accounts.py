"""Tenants, users, tokens and secrets, through the core and the command line."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import encryption, services
from accounts.models import SigningSecret, Tenant, Token, User, digest
from tests.conftest import ClientFor, tenant_of
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def run_command(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def test_one_new_token_and_nothing_else_is_printed() -> None:
    first = run_command("issue_token", "--tenant", "Alpha", "--user", "ann")
    second = run_command("issue_token", "--tenant", "Alpha", "--user", "ann")

    assert first.strip().startswith("sch_")
    assert len(first.split()) == 1
    assert first != second
    assert User.objects.get().username == "ann@Alpha"


def test_everything_but_the_token_is_printed_on_standard_error() -> None:
    err = StringIO()
    for _ in range(2):
        call_command(
            "issue_token", "--tenant", "Alpha", "--user", "ann", stdout=StringIO(),
            stderr=err,
        )  # fmt: skip

    assert err.getvalue().splitlines() == [
        "The tenant Alpha is new.",
        "The user ann of Alpha is new.",
    ]


def test_a_slip_of_the_fingers_creates_nothing_if_nothing_is_to_be_created(
    user: User,
) -> None:
    for names in (("Alhpa", "ann"), ("Alpha", "anm")):
        with pytest.raises(CommandError, match="There is no"):
            run_command(
                "issue_token", "--existing", "--tenant", names[0], "--user", names[1]
            )

    token = run_command(
        "issue_token", "--existing", "--tenant", "Alpha", "--user", "ann"
    )

    assert token.startswith("sch_")
    assert (Tenant.objects.count(), User.objects.count()) == (1, 1)


def test_urls_with_credentials_are_read_from_standard_input(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = ["https://ann:one@e.org/", "https://ann:two@e.org/"]
    monkeypatch.setattr("sys.stdin", StringIO("\n".join(urls)))

    run_command("configure_tenant", "Alpha", "--callback-url=-", "--notification-url=-")

    tenant = Tenant.objects.get(name="Alpha")
    stored = tenant.callback_url, tenant.notification_url
    assert [encryption.open_url(url) for url in stored] == urls


def test_a_secret_is_read_from_standard_input(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(secret: str, *command: str) -> str:
        monkeypatch.setattr("sys.stdin", StringIO(f"{secret}\n"))
        return run_command(*command).strip()

    new = say(services.issue_token(user), "rotate_token", "-")
    say(new, "revoke_token", "-")
    say(
        "correct horse battery staple",
        "configure_tenant",
        "Alpha",
        "--shared-secret",
        "-",
    )

    assert Token.objects.get(digest=digest(new)).revoked_at is not None
    assert Tenant.objects.get().shared_secret == "correct horse battery staple"


def test_the_same_name_in_two_tenants_is_two_users() -> None:
    run_command("issue_token", "--tenant", "Alpha", "--user", "ann")
    run_command("issue_token", "--tenant", "Beta", "--user", "ann")

    assert User.objects.filter(name="ann").count() == 2


def test_provisioning_at_once_makes_one_tenant_and_one_user() -> None:
    users = run_in_threads(8, lambda: services.provision_user("Alpha", "ann").pk)

    assert len(users) == 8
    assert len(set(users)) == 1
    assert Tenant.objects.count() == SigningSecret.objects.count() == 1


def test_a_token_is_stored_as_its_digest_alone(user: User) -> None:
    token = services.issue_token(user)

    row = Token.objects.get()
    assert row.digest == digest(token)
    assert token not in {str(value) for value in vars(row).values()}
    assert token.startswith(row.prefix)


def test_a_revoked_token_opens_nothing(user: User, client_for: ClientFor) -> None:
    api = client_for(user)
    token = services.issue_token(user)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert api.get("/tasks/").status_code == 200

    run_command("revoke_token", token)

    assert api.get("/tasks/").status_code == 401
    with pytest.raises(CommandError):
        run_command("revoke_token", "sch_unknown")


def test_a_deactivated_user_is_let_in_no_more(
    user: User, colleague: User, client_for: ClientFor
) -> None:
    api, other = client_for(user), client_for(colleague)

    run_command("deactivate_user", "ann")

    assert api.get("/tasks/").status_code == 401
    assert other.get("/tasks/").status_code == 200


def test_a_name_that_several_tenants_use_must_be_said_with_its_tenant(
    user: User,
) -> None:
    namesake = services.provision_user("Beta", "ann")

    with pytest.raises(CommandError, match="ann@Alpha, ann@Beta"):
        run_command("deactivate_user", "ann")
    run_command("deactivate_user", "ann", "--tenant", "Beta")

    namesake.refresh_from_db()
    assert not namesake.is_active


def test_a_token_ends_when_it_expires(user: User, client_for: ClientFor) -> None:
    api = client_for(user)
    expired = services.issue_token(user, expires_at=timezone.now() - HOUR)

    api.credentials(HTTP_AUTHORIZATION=f"Bearer {expired}")

    assert api.get("/tasks/").status_code == 401


def test_a_tenant_is_configured_and_its_secret_kept_encrypted() -> None:
    run_command(
        "configure_tenant",
        "Alpha",
        "--callback-url",
        "https://example.com/timers",
        "--shared-secret",
        "correct horse",
    )

    tenant = Tenant.objects.get()
    assert tenant.shared_secret == "correct horse"
    assert tenant.shared_secret_digest == digest("correct horse")
    with connection.cursor() as cursor:
        cursor.execute("SELECT shared_secret FROM accounts_tenant")
        assert "correct" not in cursor.fetchone()[0]


def test_two_tenants_cannot_have_one_shared_secret() -> None:
    run_command("configure_tenant", "Alpha", "--shared-secret", "s3cret")

    with pytest.raises(CommandError, match="Another tenant"):
        run_command("configure_tenant", "Beta", "--shared-secret", "s3cret")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com", "The URL must be absolute, http or https, with a host."),
        ("example.com", "The URL must be absolute, http or https, with a host."),
        ("http://", "The URL must be absolute, http or https, with a host."),
        ("http://user:pa ss@example.com/", "The URL contains white space"),
        ("http://us\uff03er:pw@[::1]@host/", "The URL must be absolute"),
        ("http://127.0.0.1/", "Loopback addresses may not be called."),
        ("http://localhost:8000/", "Loopback addresses may not be called."),
        ("http://169.254.169.254/", "Link-local addresses may not be called."),
        ("http://198.41.0.4/", "Addresses that the operator denies may not be called."),
    ],
)
@pytest.mark.parametrize("what", ["callback", "notification"])
def test_a_url_of_a_tenant_is_checked_like_a_target(
    settings: LazySettings, what: str, url: str, why: str
) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    settings.SCHEDULER_DENIED_NETWORKS = "198.41.0.4"

    with pytest.raises(CommandError, match=f"{what} URL. {why}") as refused:
        run_command("configure_tenant", "Alpha", f"--{what}-url", url)

    assert "pw@" not in str(refused.value)
    assert not Tenant.objects.filter(name="Alpha").exists()


def test_two_signing_secrets_live_while_one_replaces_the_other(user: User) -> None:
    now = timezone.now()
    [old] = services.load_signing_secrets(tenant_of(user).pk, now)

    new = run_command("signing_secret", "Alpha", "--rotate").strip()

    assert services.load_signing_secrets(tenant_of(user).pk, now) == [new, old]
    later = timezone.now() + 25 * HOUR
    assert services.load_signing_secrets(tenant_of(user).pk, later) == [new]
    assert run_command("signing_secret", "Alpha").strip() == new
