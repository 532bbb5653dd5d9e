"""The commands of `scheduler` about access: tokens, users, signing secrets, the audit log."""

from __future__ import annotations

from typing import Any

from scheduler_client import formatting
from scheduler_client.cli.output import (
    Add,
    Group,
    Options,
    add_limit,
    add_span,
    done,
    positive,
    some,
    tell,
)
from scheduler_client.client import Client
from scheduler_client.models import User


def _tokens(client: Client, options: Options) -> int:
    tokens = list(client.tokens(owner=options.owner))
    head = ("id", "user", "name", "prefix", "scope", "expires", "revoked", "last used")
    rows = [
        (
            *(each.id, each.user, each.name, each.prefix, each.scope),
            *(each.expires_at, each.revoked_at, each.last_used_at),
        )
        for each in tokens
    ]
    tell(options, [each.raw for each in tokens], formatting.table(head, rows))
    return 0


def _show_token(client: Client, options: Options) -> int:
    token = client.get_token(options.id)
    tell(options, token.raw, formatting.details(dict(token.raw)))
    return 0


def _issue(client: Client, options: Options) -> int:
    token = client.issue_token(
        options.name,
        scope=options.scope,
        expires_in=options.expires_in,
        user=options.user,
    )
    return done(options, token.raw, token.token)


def _rotate(client: Client, options: Options) -> int:
    token = client.rotate_token(options.id, overlap=options.overlap)
    return done(options, token.raw, token.token)


def _revoke(client: Client, options: Options) -> int:
    client.revoke_token(options.id)
    return done(options, {"revoked": options.id}, "Revoked")


def _users(client: Client, options: Options) -> int:
    return _tell_users(options, list(client.users()))


def _show_user(client: Client, options: Options) -> int:
    return _tell_users(options, client.get_user(options.name))


def _add_user(client: Client, options: Options) -> int:
    return _tell_users(options, client.add_user(options.name, role=options.role))


def _change_user(client: Client, options: Options) -> int:
    changed = client.change_user(options.name, role=options.role)
    return _tell_users(options, changed)


def _activate(client: Client, options: Options) -> int:
    return _tell_users(options, client.change_user(options.name, is_active=True))


def _deactivate(client: Client, options: Options) -> int:
    return _tell_users(options, client.change_user(options.name, is_active=False))


def _transfer(client: Client, options: Options) -> int:
    count = client.transfer_tasks(options.name, options.to)
    tasks = "1 task is" if count == 1 else f"{count} tasks are"
    return done(options, {"count": count}, f"{tasks} {options.to}'s now")


def _tell_users(options: Options, found: User | list[User]) -> int:
    users = found if isinstance(found, list) else [found]
    raw = [each.raw for each in users]
    rows = [
        (each.name, each.username, each.role, each.is_active, each.created_at)
        for each in users
    ]
    head = ("name", "username", "role", "active", "created")
    tell(options, raw if found is users else raw[0], formatting.table(head, rows))
    return 0


def _secrets(client: Client, options: Options) -> int:
    secrets = client.signing_secrets()
    rows = [
        (each.id, each.created_at, each.expires_at, each.is_readable)
        for each in secrets
    ]
    head = ("id", "created", "expires", "readable")
    tell(options, [each.raw for each in secrets], formatting.table(head, rows))
    return 0


def _rotate_secret(client: Client, options: Options) -> int:
    made = client.rotate_signing_secret(overlap=options.overlap)
    return done(options, made.raw, made.secret)


def _audit(client: Client, options: Options) -> int:
    found = client.audit(
        actor=options.actor,
        action=options.action,
        object_id=options.object,
        since=options.since,
        until=options.until,
    )
    entries = some(options, found)
    head = ("at", "actor", "via", "action", "objects", "changes")
    rows = [
        (
            *(each.at, each.actor, each.via, each.action, each.objects),
            formatting.written(each.changes, 80),
        )
        for each in entries
    ]
    tell(options, [each.raw for each in entries], formatting.table(head, rows))
    return 0


def add_to(commands: Any, group: Group, add: Add) -> None:
    _add_tokens(group("tokens", "list, issue, rotate and revoke tokens"), add)
    _add_users(group("users", "list, invite and change users; for administrators"), add)
    _add_secrets(group("secrets", "list and rotate signing secrets"), add)
    one = add(commands, "audit", _audit, "show who changed what")
    for name in ("--actor", "--action", "--object"):
        one.add_argument(name)
    add_span(one)
    add_limit(one, 100)


def _add_tokens(group: Any, add: Add) -> None:
    one = add(group, "list", _tokens, "list tokens")
    one.add_argument("--owner", help="for administrators: a user, or all")
    one = add(group, "show", _show_token, "show a token, without its clear text")
    one.add_argument("id")
    one = add(group, "issue", _issue, "make a token, and print it this once")
    one.add_argument("name", nargs="?", default="")
    one.add_argument("--scope", choices=["read", "write", "admin"])
    one.add_argument("--expires-in", type=positive, metavar="SECONDS")
    one.add_argument("--user", help="for administrators: whose it is")
    one = add(group, "rotate", _rotate, "make a token in the place of one")
    one.add_argument("id")
    one.add_argument("--overlap", type=int, metavar="SECONDS")
    one = add(group, "revoke", _revoke, "let a token open nothing any more")
    one.add_argument("id")


def _add_users(group: Any, add: Add) -> None:
    add(group, "list", _users, "list the users of the tenant")
    for name, command, text in (
        ("show", _show_user, "show a user"),
        ("activate", _activate, "open the door to a user again"),
        ("deactivate", _deactivate, "close the door to a user; the tasks wait"),
    ):
        add(group, name, command, text).add_argument("name")
    one = add(group, "add", _add_user, "invite a user, who has no token yet")
    one.add_argument("name")
    one.add_argument("--role", choices=["member", "admin"])
    one = add(
        group, "transfer", _transfer, "hand all tasks of a user over to another one"
    )
    one.add_argument("name", metavar="FROM")
    one.add_argument("to", metavar="TO")
    one = add(group, "change", _change_user, "give a user another role")
    one.add_argument("name")
    one.add_argument("--role", choices=["member", "admin"], required=True)


def _add_secrets(group: Any, add: Add) -> None:
    add(group, "list", _secrets, "list the live secrets, by their fingerprints")
    one = add(group, "rotate", _rotate_secret, "make a secret, and print it this once")
    one.add_argument(
        "--overlap", type=int, metavar="SECONDS", help="until the old one ends"
    )
