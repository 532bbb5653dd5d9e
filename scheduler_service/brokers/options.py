"""The settings of Celery that differ from broker to broker.

With each of them a message is sent once, or an error is raised within seconds.
"""

from __future__ import annotations

import socket
import ssl
from collections import UserDict
from typing import Any, Literal

from amqp.exceptions import RecoverableConnectionError

from scheduler_service.brokers.urls import is_rabbitmq, split_hosts
from scheduler_service.redis import connections

# Seconds in which a connection is made, to whichever node of a cluster takes it.
CONNECT_TIMEOUT = 4.0
MIN_CONNECT_TIMEOUT = 1.0
# Seconds for an answer of RabbitMQ.
RABBITMQ_TIMEOUT = 3.0
BLOCKED_ERROR = "RabbitMQ is short of memory or disk, and takes no messages."


class Blocked(RecoverableConnectionError):
    """RabbitMQ reads no more messages of this connection until it has room again."""


class RaiseBlocked:
    """Called when RabbitMQ says so. Workers show their options in JSON, so it has a form."""

    def __call__(self, reason: str) -> None:
        raise Blocked(BLOCKED_ERROR)

    def __json__(self) -> str:
        return "raise an error"


class HiddenOptions(UserDict[str, Any]):
    """Options with a password, which workers do not show in JSON."""

    def __json__(self) -> dict[str, Any]:
        return {}


def transport_options(url: str, *, master: str, password: str) -> dict[str, Any]:
    """The options of kombu; master and password are those of Sentinels."""
    if is_rabbitmq(url):
        return _rabbitmq_options(url)
    options: dict[str, Any] = {
        "visibility_timeout": 180,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "health_check_interval": 10,
        "max_connections": 50,
    }
    if not url.startswith("redis+socket://"):
        options["socket_keepalive"] = True
    if connections.is_sentinel(url):
        options["master_name"] = master
        options["sentinel_kwargs"] = HiddenOptions(
            **connections.timeout_options(3),
            password=connections.MaskedPassword(password) or None,
        )
    return options


def _rabbitmq_options(url: str) -> dict[str, Any]:
    return {
        # A message is sent when a majority of the nodes has it.
        "confirm_publish": True,
        # Each node is tried once. kombu would try for ever, and a beat would stand still.
        "max_retries": len(split_hosts(url)) - 1,
        "read_timeout": RABBITMQ_TIMEOUT,
        "write_timeout": RABBITMQ_TIMEOUT,
        "on_blocked": RaiseBlocked(),
        # A lost node is noticed within 20 s, also by who only waits for messages.
        "socket_settings": {
            socket.TCP_KEEPIDLE: 10,
            socket.TCP_KEEPINTVL: 5,
            socket.TCP_KEEPCNT: 2,
        },
    }


def connect_timeout(url: str) -> float:
    """Seconds to connect to one node."""
    if not is_rabbitmq(url):
        return CONNECT_TIMEOUT
    return max(MIN_CONNECT_TIMEOUT, CONNECT_TIMEOUT / len(split_hosts(url)))


def tls_options(url: str) -> dict[str, Any] | Literal[False]:
    """How RabbitMQ's certificate is checked. A URL of Redis says it by itself."""
    if not url.startswith("amqps://"):
        return False
    # None is the host of the URL.
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}


def queue_type(url: str) -> str:
    """The kind of Celery's queue: RabbitMQ keeps copies of a quorum queue on its nodes."""
    return "quorum" if is_rabbitmq(url) else "classic"
