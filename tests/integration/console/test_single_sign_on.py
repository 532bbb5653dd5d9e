"""An identity provider lets in whom it knows, by the domain of a verified address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import LazySettings
from django.core import mail
from django.test import Client

from accounts import services
from accounts.models import Role, Tenant, User
from accounts.roles import Membership, parse_domains
from scheduler_service.startup.checks import check_single_sign_on
from tests.integration.support.audit_log import logged_actions

pytestmark = pytest.mark.django_db(transaction=True)

LOGIN = "/login/provider/oidc"


class IdentityProvider(ThreadingHTTPServer):
    """An OpenID Connect provider on loopback that knows one person."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.person: dict[str, Any] = {
            "sub": "p-1",
            "email": "cleo@example.org",
            "email_verified": True,
        }

    def answer(self, path: str) -> dict[str, Any]:
        match urlsplit(path).path:
            case "/.well-known/openid-configuration":
                return {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "userinfo_endpoint": f"{self.issuer}/userinfo",
                    "jwks_uri": f"{self.issuer}/keys",
                }
            case "/token":
                return {"access_token": "secret", "token_type": "Bearer"}
        return self.person


class _Handler(BaseHTTPRequestHandler):
    server: IdentityProvider

    def do_GET(self) -> None:
        body = json.dumps(self.server.answer(self.path)).encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Write nothing among the lines of the tests."""


@pytest.fixture
def provider(settings: LazySettings, alpha: Tenant) -> Iterator[IdentityProvider]:
    server = IdentityProvider()
    thread = Thread(target=server.serve_forever)
    thread.start()
    settings.OIDC_ISSUER = server.issuer
    settings.OIDC_DOMAINS = ["example.org=Alpha:viewer", "example.com=Gone:admin"]
    app = {
        "provider_id": "oidc",
        "name": "Example",
        "client_id": "scheduler",
        "secret": "s3cret",
        "settings": {"server_url": server.issuer},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}
    }
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def come_in(client: Client, path: str = LOGIN) -> Any:
    asked = client.get(path)
    state = parse_qs(urlsplit(asked["Location"]).query)["state"][0]
    return client.get(f"{LOGIN}/callback", {"code": "x", "state": state})


def test_a_new_person_becomes_a_user_of_the_tenant(
    client: Client, provider: IdentityProvider
) -> None:
    answer = come_in(client)

    assert (answer.status_code, answer["Location"]) == (302, "/app")
    cleo = User.objects.get(username="cleo@Alpha")
    assert (cleo.role, cleo.email) == (Role.VIEWER, "cleo@example.org")
    assert not cleo.has_usable_password()
    assert client.get("/app/").status_code == 200
    entries = logged_actions(object_id="cleo")
    assert entries == [
        ("identity provider", "console", "user.add", "cleo"),
        ("cleo@Alpha", "console", "user.change", "cleo"),
        ("cleo@Alpha", "console", "user.login", "cleo"),
    ]


def test_the_same_person_is_the_same_user_whatever_the_address(
    client: Client, provider: IdentityProvider
) -> None:
    come_in(client)
    provider.person["email"] = "cleo@elsewhere.example"

    assert come_in(Client())["Location"] == "/app"
    assert SocialAccount.objects.count() == 1


@pytest.mark.parametrize(
    "person",
    [
        {"email": "cleo@elsewhere.example"},
        {"email": "cleo@sub.example.org"},
        {"email": "cleo@example.org@elsewhere.example"},
        {"email_verified": False},
        {"email": None},
        # Its tenant does not exist.
        {"email": "cleo@example.com"},
    ],
)
def test_others_are_told_that_they_are_not_invited(
    client: Client, provider: IdentityProvider, person: dict[str, Any]
) -> None:
    provider.person |= person
    before = User.objects.count()

    answer = come_in(client)

    assert answer.status_code == 403
    assert "Not invited" in answer.content.decode()
    assert User.objects.count() == before
    assert client.get("/app/").status_code == 302


def test_a_user_with_the_verified_address_is_the_person(
    client: Client, provider: IdentityProvider, user: User
) -> None:
    EmailAddress.objects.create(user=user, email="cleo@example.org", verified=True)

    come_in(client)

    assert SocialAccount.objects.get().user == user
    assert User.objects.get(pk=user.pk).role == Role.MEMBER


def test_a_user_who_only_claims_the_address_is_not(
    client: Client, provider: IdentityProvider, user: User
) -> None:
    User.objects.filter(pk=user.pk).update(email="cleo@example.org")
    EmailAddress.objects.create(user=user, email="cleo@example.org", verified=False)

    come_in(client)

    assert SocialAccount.objects.get().user != user


def test_an_address_that_is_verified_in_another_tenant_stays_there(
    client: Client, provider: IdentityProvider, stranger: User
) -> None:
    EmailAddress.objects.create(user=stranger, email="cleo@example.org", verified=True)

    come_in(client)

    assert SocialAccount.objects.get().user.username == "cleo@Alpha"


def test_a_name_that_is_taken_gets_the_whole_address(
    client: Client, provider: IdentityProvider, alpha: Tenant
) -> None:
    services.add_user(alpha, "cleo")

    come_in(client)

    assert SocialAccount.objects.get().user.name == "cleo@example.org"


def test_a_deactivated_user_is_not_let_in(
    client: Client, provider: IdentityProvider
) -> None:
    come_in(client)
    services.change_user(User.objects.get(name="cleo"), is_active=False)

    answer = come_in(Client())

    assert answer["Location"] == "/login/inactive"


def test_the_provider_alone_lets_its_people_in(
    client: Client, provider: IdentityProvider
) -> None:
    come_in(client)
    Client().post("/password/reset", {"email": "cleo@example.org"})
    refused = client.post(
        "/account/password/set",
        {"password1": "a quiet river bends", "password2": "a quiet river bends"},
    )

    assert mail.outbox == []
    assert refused.status_code == 403
    assert not User.objects.get(name="cleo").has_usable_password()
    assert "Choose a password" not in client.get("/account").content.decode()


def test_no_identity_is_connected_to_an_account_that_is_logged_in(
    client: Client, provider: IdentityProvider, user: User
) -> None:
    client.force_login(user)

    answer = come_in(client, f"{LOGIN}?process=connect")

    assert answer.status_code == 403
    assert not SocialAccount.objects.exists()


def test_an_answer_that_nobody_asked_for_lets_nobody_in(
    client: Client, provider: IdentityProvider
) -> None:
    client.get(f"{LOGIN}/callback", {"code": "x", "state": "forged"})

    assert client.get("/app/").status_code == 302
    assert not SocialAccount.objects.exists()


def test_the_login_page_offers_the_provider(
    client: Client, provider: IdentityProvider
) -> None:
    assert f'href="{LOGIN}"' in client.get("/login/").content.decode()


def test_without_a_provider_there_is_no_such_page(client: Client) -> None:
    assert LOGIN not in client.get("/login/").content.decode()
    assert client.get(LOGIN).status_code == 404


def test_domains_say_tenants_and_roles() -> None:
    assert parse_domains([" Example.org=acme:admin", "b.org=a: b:member", ""]) == {
        "example.org": Membership("acme", Role.ADMIN),
        "b.org": Membership("a: b", Role.MEMBER),
    }


@pytest.mark.parametrize(
    "entry", ["example.org", "example.org=acme", "example.org=:admin", "=acme:admin"]
)
def test_a_setting_that_nobody_can_read_stops_the_start(
    settings: LazySettings, entry: str
) -> None:
    settings.OIDC_DOMAINS = [entry]

    [error] = check_single_sign_on()

    assert error.id == "scheduler.E101"


def test_an_issuer_needs_a_client_and_domains(settings: LazySettings) -> None:
    settings.OIDC_ISSUER = "https://id.example"
    settings.OIDC_DOMAINS = []

    assert {each.id for each in check_single_sign_on()} == {"scheduler.W007"}
