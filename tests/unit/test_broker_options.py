"""How long Celery tries to reach a broker, and what it asks of it."""

from __future__ import annotations

import pytest
from amqp.exceptions import RecoverableConnectionError
from kombu.utils.json import dumps

from scheduler_service.brokers import options

REDIS, ONE = "redis://h:6379/0", "amqp://u:p@a//"
THREE = "amqps://u:p@a//;amqps://u:p@b//;amqps://u:p@c//"


@pytest.mark.parametrize(("url", "retries"), [(ONE, 0), (THREE, 2)])
def test_each_node_is_tried_once(url: str, retries: int) -> None:
    found = options.transport_options(url, master="", password="")

    assert found["max_retries"] == retries


def test_all_nodes_together_have_as_long_as_one() -> None:
    assert options.connect_timeout(REDIS) == options.connect_timeout(ONE) == 4
    assert 3 * options.connect_timeout(THREE) == pytest.approx(4)


def test_a_full_rabbitmq_is_an_error_of_the_connection() -> None:
    on_blocked = options.transport_options(ONE, master="", password="")["on_blocked"]

    with pytest.raises(RecoverableConnectionError, match="short of memory or disk"):
        on_blocked("connection blocked")


def test_only_rabbitmq_keeps_copies_and_checks_certificates_by_setting() -> None:
    assert [options.queue_type(url) for url in (REDIS, ONE)] == ["classic", "quorum"]
    assert options.tls_options(REDIS) is options.tls_options(ONE) is False
    assert options.tls_options(THREE)


def test_sentinels_are_asked_with_their_own_password() -> None:
    found = options.transport_options(
        "sentinel://:p@a:26379/0", master="bell", password="secret"
    )

    assert found["master_name"] == "bell"
    assert found["sentinel_kwargs"]["password"] == "secret"
    assert "secret" not in repr(found)
    assert "secret" not in dumps(found)


def test_a_worker_can_show_the_options_of_rabbitmq() -> None:
    assert dumps(options.transport_options(ONE, master="", password=""))
