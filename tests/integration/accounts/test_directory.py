"""Tenants of several cells have ids, names and secrets that no other cell has."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from accounts import directory, directory_statements, services
from accounts.directory import CELL_BITS, DirectoryError
from accounts.models import OwnCell, Tenant, Token, User, digest
from accounts.services import AccountError, erasure
from tests.conftest import MakeTask
from tests.integration.support.directories import made_database

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cells(settings: LazySettings) -> Iterator[None]:
    """This process is the cell `here`, and there is another one."""
    with made_database() as url:
        settings.DIRECTORY_URL = url
        settings.SCHEDULER_CELL = "here"
        directory.put_cell("here", ["127.0.0.1:8001"])
        directory.put_cell("there", ["127.0.0.1:8002"], "there.example")
        yield


@pytest.fixture
def sequences() -> Iterator[None]:
    """Let sequences go on after the test where they were before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I', sequencename), coalesce(last_value, 1) FROM pg_sequences"
            " WHERE schemaname = current_schema()"
        )
        found = cursor.fetchall()
        yield
        for name, value in found:
            cursor.execute("SELECT setval(%s::regclass, %s)", [name, value])


@pytest.fixture
def staff_user() -> User:
    return User.objects.create_superuser("root", password="x")


@pytest.fixture
def staff(client: Client, staff_user: User) -> Client:
    client.force_login(staff_user)
    return client


def run_command(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def routes_of(tenant_id: int) -> tuple[str | None, set[str]]:
    """The cell of a tenant, and the digests that lead to it."""
    with directory.open_directory() as session:
        routes = directory.load_routes(session)
    owned = {key for key, owner in routes.credentials.items() if owner == tenant_id}
    return routes.cells.get(tenant_id), owned


@pytest.mark.usefixtures("cells")
def test_the_directory_gives_ids_that_no_other_cell_has() -> None:
    elsewhere = directory.register_tenant("Beta", "there")

    token = run_command("issue_token", "--tenant", "Alpha", "--user", "ann")

    tenant = Tenant.objects.get(name="Alpha")
    assert tenant.pk == elsewhere + 1
    assert token.startswith(f"sch_{tenant.pk}_")
    assert routes_of(tenant.pk) == ("here", set())


@pytest.mark.usefixtures("cells")
def test_a_name_belongs_to_one_tenant_of_all_cells() -> None:
    directory.register_tenant("Beta", "there")

    with pytest.raises(CommandError, match="Beta lives in the cell there"):
        run_command("issue_token", "--tenant", "Beta", "--user", "bob")

    assert not Tenant.objects.exists()


@pytest.mark.usefixtures("cells")
def test_a_tenant_that_was_registered_before_a_crash_gets_its_id() -> None:
    reserved = services.reserve_tenant_id("Alpha")

    user = services.provision_user("Alpha", "ann")

    assert user.tenant_id == reserved


@pytest.mark.usefixtures("cells")
def test_only_new_tenants_need_the_directory(settings: LazySettings) -> None:
    user = services.provision_user("Alpha", "ann")
    settings.DIRECTORY_URL = "postgresql://127.0.0.1:1/nowhere"

    services.issue_token(user)
    services.provision_user("Alpha", "bob")

    with pytest.raises(AccountError, match="The directory does not answer"):
        services.provision_user("Beta", "ann")


@pytest.mark.usefixtures("cells")
def test_a_shared_secret_leads_to_its_tenant_until_it_is_replaced() -> None:
    tenant, _ = services.configure_tenant("Alpha", shared_secret="x" * 24)
    assert routes_of(tenant.pk) == ("here", {digest("x" * 24)})

    services.configure_tenant("Alpha", shared_secret="y" * 24)

    assert routes_of(tenant.pk) == ("here", {digest("y" * 24)})
    services.configure_tenant("Alpha", shared_secret="")
    assert routes_of(tenant.pk) == ("here", set())


@pytest.mark.usefixtures("cells")
def test_two_cells_never_have_the_same_shared_secret() -> None:
    other = directory.register_tenant("Beta", "there")
    directory.add_credentials({digest("x" * 24): other})

    with pytest.raises(AccountError, match="another cell"):
        services.configure_tenant("Alpha", shared_secret="x" * 24)

    assert routes_of(other)[1] == {digest("x" * 24)}


@pytest.mark.usefixtures("cells", "sequences")
def test_a_cell_that_joins_tells_of_its_tenants_and_old_tokens(
    settings: LazySettings,
) -> None:
    url, settings.DIRECTORY_URL = settings.DIRECTORY_URL, ""
    user = services.provision_user("Alpha", "ann")
    new, old = services.issue_token(user), services.issue_token(user)
    gone = services.issue_token(user)
    shorter = "sch_12345678"
    for token in (old, gone):
        Token.objects.filter(digest=digest(token)).update(stored_prefix=shorter)
    run_command("revoke_token", gone)
    services.configure_tenant("Alpha", shared_secret="x" * 24)
    settings.DIRECTORY_URL = url

    for _ in range(2):
        said = run_command("join_directory")

    assert "1 tenants of here and 2 old tokens" in said
    assert user.tenant_id
    cell, owned = routes_of(user.tenant_id)
    assert (cell, owned) == ("here", {digest(old), digest("x" * 24)})
    assert digest(new) not in owned
    number = directory.find_cell("here").number
    assert services.provision_user("Alpha", "bob").pk >= number << CELL_BITS
    assert services.provision_user("Gamma", "ann").tenant_id == user.tenant_id + 1


@pytest.mark.usefixtures("cells")
def test_a_cell_whose_ids_are_taken_cannot_join(settings: LazySettings) -> None:
    url, settings.DIRECTORY_URL = settings.DIRECTORY_URL, ""
    tenant = services.provision_user("Alpha", "ann").tenant
    assert tenant
    settings.DIRECTORY_URL = url
    directory.register_tenants("there", {tenant.pk: "Beta"})

    with pytest.raises(CommandError, match="given the name or the id of the tenant"):
        run_command("join_directory")


@pytest.mark.usefixtures("cells", "sequences")
def test_a_cell_that_joins_again_leaves_out_what_has_moved_and_says_its_name() -> None:
    left = services.provision_user("Alpha", "ann").tenant
    assert left
    directory.flip_all([left.pk], "there")
    Tenant.objects.filter(pk=left.pk).update(frozen_at=Now(), moved_at=Now())

    said = run_command("join_directory")

    assert "0 tenants of here" in said
    assert routes_of(left.pk)[0] == "there"
    assert OwnCell.objects.get().name == "here"


@pytest.mark.usefixtures("cells")
def test_many_tenants_are_flipped_in_one_version() -> None:
    names = {number: f"Tenant {number}" for number in range(1, 6)}
    directory.register_tenants("here", names)

    version = directory.flip_all([2, 4], "there")

    assert directory.newest_version() == version
    assert directory.tenants_of("there") == {2, 4}
    assert directory.tenants_of("here") == {1, 3, 5}
    assert directory.flip_all([2, 4], "there") == version
    with pytest.raises(DirectoryError, match="no cell nowhere"):
        directory.flip_all([2], "nowhere")


@pytest.mark.usefixtures("cells")
def test_ids_end_where_those_of_runs_have_no_room() -> None:
    with pytest.raises(DirectoryError, match="1,048,575"):
        directory.register_tenants("here", {2**20: "Alpha"})
    directory.register_tenants("here", {2**20 - 1: "Alpha"})

    with pytest.raises(DirectoryError, match="1,048,575"):
        directory.register_tenant("Beta", "here")


@pytest.mark.usefixtures("cells")
def test_a_deleted_tenant_is_forgotten_with_its_secret_and_its_name() -> None:
    tenant, _ = services.configure_tenant("Alpha", shared_secret="x" * 24)
    tenant_id = tenant.pk
    services.configure_tenant("Alpha", shared_secret="")

    erasure.delete_tenant(tenant)

    assert routes_of(tenant_id) == (None, set())
    assert directory.find_tenant("Alpha") is None
    assert services.provision_user("Alpha", "ann").tenant_id == tenant_id + 1


@pytest.mark.usefixtures("cells")
def test_a_tenant_that_moved_away_is_not_forgotten_with_its_rows() -> None:
    tenant = services.provision_user("Alpha", "ann").tenant
    assert tenant
    tenant_id = tenant.pk
    assert "go to the cell there" in run_command("assign_tenant", "Alpha", "there")

    erasure.delete_tenant(tenant)

    assert routes_of(tenant_id) == ("there", set())
    assert run_command("find_cell", "Alpha") == "there"


@pytest.mark.usefixtures("cells")
def test_the_admin_adds_and_renames_a_tenant_by_the_directory(staff: Client) -> None:
    directory.register_tenant("Beta", "there")
    form = {
        "name": "Beta",
        "signing_secrets-TOTAL_FORMS": "0",
        "signing_secrets-INITIAL_FORMS": "0",
    }
    add = reverse("admin:accounts_tenant_add")

    refused = staff.post(add, form).content.decode()
    staff.post(add, form | {"name": "Alpha"})

    assert "The tenant Beta lives in the cell there." in refused
    tenant = Tenant.objects.get()
    assert routes_of(tenant.pk)[0] == "here"
    change = reverse("admin:accounts_tenant_change", args=[tenant.pk])
    refused = staff.post(change, form).content.decode()
    staff.post(change, form | {"name": "Gamma"})
    assert "Another tenant has the name Beta." in refused
    assert run_command("find_cell", "Gamma") == "here"


@pytest.mark.usefixtures("cells")
def test_the_commands_say_what_the_directory_knows() -> None:
    services.provision_user("Alpha", "ann")

    run_command("add_cell", "new", "--server", "10.0.0.1:80", "--server", "10.0.0.2:80")

    assert run_command("list_cells").splitlines() == [
        "1 here tenants=1 servers=127.0.0.1:8001 host=-",
        "2 there tenants=0 servers=127.0.0.1:8002 host=there.example",
        "3 new tenants=0 servers=10.0.0.1:80,10.0.0.2:80 host=-",
    ]


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (["add_cell", "No Name", "--server", "h:1"], "small letters"),
        (["add_cell", "x", "--server", "h:1", "--host", "there.example"], "the host"),
        (["assign_tenant", "Nobody", "here"], "no tenant Nobody"),
        (["find_cell", "Nobody"], "no tenant Nobody"),
        (["assign_tenant", "Alpha", "nowhere"], "no cell nowhere"),
    ],
)
@pytest.mark.usefixtures("cells")
def test_a_command_refuses_in_a_sentence(command: list[str], refusal: str) -> None:
    services.provision_user("Alpha", "ann")

    with pytest.raises(CommandError, match=refusal):
        run_command(*command)


def test_commands_of_the_directory_need_one() -> None:
    with pytest.raises(CommandError, match="DIRECTORY_URL is not set"):
        run_command("list_cells")


def test_an_empty_directory_says_how_it_is_made(settings: LazySettings) -> None:
    with (
        made_database() as settings.DIRECTORY_URL,
        pytest.raises(CommandError, match="add_cell makes it"),
    ):
        run_command("list_cells")


def test_a_token_names_its_tenant_and_shows_eight_of_its_characters(
    user: User,
) -> None:
    clear_text = services.issue_token(user)

    named = f"sch_{user.tenant_id}_"
    assert clear_text.startswith(named)
    assert len(clear_text) == len(named) + 43
    assert Token.objects.get().prefix == clear_text[: len(named) + 8]


def test_a_token_of_staff_names_no_tenant(staff_user: User) -> None:
    clear_text = services.issue_token(staff_user)

    assert len(clear_text) == len("sch_") + 43
    assert Token.objects.get().prefix == clear_text[:12]


@pytest.fixture
def own_key() -> Iterator[bytes]:
    key = read_run_key()
    yield key
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_api_runidkey SET key = %s", [key])


@pytest.mark.usefixtures("cells", "sequences", "own_key")
def test_an_empty_cell_makes_ids_of_runs_as_the_others_do() -> None:
    shared = directory.share_run_key(b"k" * 32)

    said = run_command("join_directory")

    assert read_run_key() == shared == b"k" * 32
    assert "No tenant moves" not in said


@pytest.mark.usefixtures("cells", "sequences")
def test_a_cell_that_has_tasks_keeps_its_key_and_says_so(
    make_task: MakeTask, own_key: bytes
) -> None:
    make_task()
    directory.share_run_key(b"k" * 32)

    said = run_command("join_directory")

    assert read_run_key() == own_key
    assert "makes the ids of their runs with another key" in said


def read_run_key() -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(directory_statements.READ_RUN_KEY)
        return bytes(cursor.fetchone()[0])
