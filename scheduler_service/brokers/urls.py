"""The forms that CELERY_BROKER_URL may have."""

from __future__ import annotations

from urllib.parse import urlsplit

from scheduler_service.redis import connections

RABBITMQ_SCHEMES = ("amqp", "amqps")


def is_rabbitmq(url: str) -> bool:
    return url.partition("://")[0] in RABBITMQ_SCHEMES


def split_hosts(url: str) -> list[str]:
    """The URLs of the nodes of a cluster, in the order in which they are tried."""
    return [each for each in url.split(";") if each]


def find_url_problem(url: str, master: str) -> str:
    """A sentence about what is wrong with a CELERY_BROKER_URL, without its password."""
    if not is_rabbitmq(url):
        return connections.find_url_problem(url, master, "CELERY_BROKER_URL")
    scheme = url.partition("://")[0]
    for each in split_hosts(url):
        try:
            parts = urlsplit(each)
            _ = parts.port
        except ValueError as error:
            return f"CELERY_BROKER_URL cannot be read: {error}."
        if parts.scheme != scheme:
            return (
                f"CELERY_BROKER_URL begins with {scheme}://, and so must each of its "
                f"nodes: {scheme}://user:password@host1//;{scheme}://user:password@host2//"
            )
    return ""
