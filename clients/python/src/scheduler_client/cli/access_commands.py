"""The commands for access: `scheduler tokens …`, `users …`, `secrets …` and `audit`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scheduler_client import formatting
from scheduler_client.cli.arguments import (
    add_limit,
    add_time_range,
    parse_object,
    parse_positive_int,
)
from scheduler_client.cli.commands import CommandGroup, Options
from scheduler_client.cli.output import succeed, take_limit
from scheduler_client.client import Client
from scheduler_client.models import User


def add_commands(root: CommandGroup) -> None:
    _add_token_commands(root.add_group("tokens", "list, issue, rotate, revoke tokens"))
    _add_user_commands(root.add_group("users", "manage users; for administrators"))
    group = root.add_group("secrets", "manage signing secrets; for administrators")
    group.add_command("list", list_secrets, "list the live signing secrets")
    text = "create a signing secret, and print it once"
    parser = group.add_command("rotate", rotate_secret, text)
    parser.add_argument(
        "--overlap", type=int, metavar="SECONDS", help="how long the old one stays live"
    )
    root.add_command("usage", show_usage, "show quotas and what is used of them")
    parser = root.add_command("audit", list_audit_entries, "show the audit log")
    parser.add_argument("--actor", help="only changes by this user")
    parser.add_argument("--action", help="only this action, or those with this prefix")
    parser.add_argument("--object", help="only changes of the object with this id")
    add_time_range(parser)
    add_limit(parser, 100)


def _add_token_commands(group: CommandGroup) -> None:
    parser = group.add_command("list", list_tokens, "list tokens")
    parser.add_argument("--owner", help="a user, or all; for administrators")
    parser = group.add_command(
        "show", show_token, "show a token without its clear text"
    )
    parser.add_argument("id", help="id of the token")
    parser = group.add_command("issue", issue_token, "issue a token, and print it once")
    parser.add_argument("name", nargs="?", default="", help="name of the token")
    parser.add_argument("--scope", choices=["read", "write", "admin"])
    parser.add_argument("--expires-in", type=parse_positive_int, metavar="SECONDS")
    parser.add_argument("--user", help="user of the token; for administrators")
    parser.add_argument(
        "--bounds",
        type=parse_object,
        metavar="JSON",
        help='what it can do at most, such as {"hosts": ["api.example.com"]}',
    )
    text = "issue the successor of a token, and print it once"
    parser = group.add_command("rotate", rotate_token, text)
    parser.add_argument("id", help="id of the token")
    parser.add_argument(
        "--overlap",
        type=int,
        metavar="SECONDS",
        help="how long the old one stays valid",
    )
    text = "let the tasks of a token with bounds go on"
    parser = group.add_command("renew", renew_token, text)
    parser.add_argument("id", help="id of the token")
    parser = group.add_command("revoke", revoke_token, "revoke a token")
    parser.add_argument("id", help="id of the token")


def _add_user_commands(group: CommandGroup) -> None:
    roles = ["viewer", "member", "admin"]
    group.add_command("list", list_users, "list the users of the tenant")
    for name, command, text in (
        ("show", show_user, "show a user"),
        ("activate", activate_user, "activate a user"),
        ("deactivate", deactivate_user, "deactivate a user, and hold their tasks"),
    ):
        parser = group.add_command(name, command, text)
        parser.add_argument("name", help="name of the user")
    parser = group.add_command("add", add_user, "add a user, who has no token yet")
    parser.add_argument("name", help="name of the user")
    parser.add_argument("--role", choices=roles)
    text = "transfer all tasks of a user to another user"
    parser = group.add_command("transfer", transfer_tasks, text)
    parser.add_argument("name", metavar="FROM")
    parser.add_argument("to", metavar="TO")
    parser = group.add_command("change", change_user, "change the role of a user")
    parser.add_argument("name", help="name of the user")
    parser.add_argument("--role", choices=roles, required=True)


def list_tokens(client: Client, options: Options) -> int:
    tokens = list(client.list_tokens(owner=options.owner))
    head = ("id", "user", "name", "prefix", "scope", "expires", "revoked", "last used")
    rows = [
        (
            *(token.id, token.user, token.name, token.prefix, token.scope),
            *(token.expires_at, token.revoked_at, token.last_used_at),
        )
        for token in tokens
    ]
    lines = formatting.format_table(head, rows)
    return succeed(options, [token.raw for token in tokens], *lines)


def show_token(client: Client, options: Options) -> int:
    token = client.get_token(options.id)
    return succeed(options, token.raw, *formatting.format_fields(dict(token.raw)))


def issue_token(client: Client, options: Options) -> int:
    issued = client.issue_token(
        options.name,
        scope=options.scope,
        expires_in=options.expires_in,
        user=options.user,
        bounds=options.bounds,
    )
    return succeed(options, issued.raw, issued.token)


def rotate_token(client: Client, options: Options) -> int:
    issued = client.rotate_token(options.id, overlap=options.overlap)
    return succeed(options, issued.raw, issued.token)


def renew_token(client: Client, options: Options) -> int:
    token = client.renew_token(options.id)
    return succeed(options, token.raw, f"Renewed until {token.renew_by}")


def show_usage(client: Client, options: Options) -> int:
    usage = client.get_usage()
    rows = [("tenant", each) for each in usage.quotas]
    rows += [("token", each) for each in (usage.token.quotas if usage.token else ())]
    head = ("of", "quota", "limit", "used", "resets")
    lines = formatting.format_table(
        head,
        [(of, use.quota, use.limit, use.used, use.resets_at) for of, use in rows],
    )
    return succeed(options, usage.raw, *lines)


def revoke_token(client: Client, options: Options) -> int:
    client.revoke_token(options.id)
    return succeed(options, {"revoked": options.id}, "Revoked")


def list_users(client: Client, options: Options) -> int:
    users = list(client.list_users())
    return succeed(options, [user.raw for user in users], *_format_users(users))


def show_user(client: Client, options: Options) -> int:
    return _print_user(options, client.get_user(options.name))


def add_user(client: Client, options: Options) -> int:
    return _print_user(options, client.add_user(options.name, role=options.role))


def change_user(client: Client, options: Options) -> int:
    return _print_user(options, client.change_user(options.name, role=options.role))


def activate_user(client: Client, options: Options) -> int:
    return _print_user(options, client.change_user(options.name, is_active=True))


def deactivate_user(client: Client, options: Options) -> int:
    return _print_user(options, client.change_user(options.name, is_active=False))


def transfer_tasks(client: Client, options: Options) -> int:
    count = client.transfer_tasks(options.name, options.to)
    tasks = "1 task is" if count == 1 else f"{count} tasks are"
    return succeed(options, {"count": count}, f"{tasks} {options.to}'s now")


def list_secrets(client: Client, options: Options) -> int:
    secrets = client.list_signing_secrets()
    rows = [
        (secret.id, secret.created_at, secret.expires_at, secret.is_readable)
        for secret in secrets
    ]
    lines = formatting.format_table(("id", "created", "expires", "readable"), rows)
    return succeed(options, [secret.raw for secret in secrets], *lines)


def rotate_secret(client: Client, options: Options) -> int:
    created = client.rotate_signing_secret(overlap=options.overlap)
    return succeed(options, created.raw, created.secret)


def list_audit_entries(client: Client, options: Options) -> int:
    found = client.list_audit_entries(
        actor=options.actor,
        action=options.action,
        object_id=options.object,
        since=options.since,
        until=options.until,
    )
    entries = take_limit(options, found)
    head = ("at", "actor", "via", "action", "objects", "changes")
    rows = [
        (
            *(entry.at, entry.actor, entry.via, entry.action, entry.objects),
            formatting.format_value(entry.changes, 80),
        )
        for entry in entries
    ]
    lines = formatting.format_table(head, rows)
    return succeed(options, [entry.raw for entry in entries], *lines)


def _print_user(options: Options, user: User) -> int:
    return succeed(options, user.raw, *_format_users([user]))


def _format_users(users: Iterable[User]) -> Iterator[str]:
    head = ("name", "username", "role", "active", "created")
    rows = [
        (user.name, user.username, user.role, user.is_active, user.created_at)
        for user in users
    ]
    return formatting.format_table(head, rows)
