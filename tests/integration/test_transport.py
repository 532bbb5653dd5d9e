"""The one door to targets: bounded in time and size, and shut to what lies inside."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.resolver import LookupResult, OnResult, Resolve
from tasks_api.delivery.transfers import MAX_ANSWER_BYTES
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.domain.states import Trouble
from tests.corpus import INSIDE, REFUSED_URLS
from tests.receiver import Receiver

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Outcomes:
    """What a transport reported, and a way to wait for it."""

    def __init__(self) -> None:
        self.by_key: dict[object, HttpResult] = {}
        self.count = 0
        self._reported = threading.Condition()

    def __call__(self, key: object, outcome: HttpResult) -> None:
        with self._reported:
            self.by_key[key] = outcome
            self.count += 1
            self._reported.notify_all()

    def wait_for(self, count: int) -> dict[object, HttpResult]:
        with self._reported:
            assert self._reported.wait_for(lambda: self.count >= count, timeout=20)
            return self.by_key


class RawServer:
    """Hands each accepted connection to a script, after it read the request's head."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                self._script(connection)
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], RawServer]]:
    servers: list[RawServer] = []

    def start(script: Callable[[socket.socket], None]) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def make(outcomes: Outcomes) -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def start(**options) -> Transport:
        transport = Transport(
            outcomes, TransportOptions(**({"allow_private": True} | options))
        )
        transport.start()
        made.append(transport)
        return transport

    yield start
    for transport in made:
        transport.close(grace=0)


@pytest.fixture
def target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


def resolving(answer: Callable[[str], LookupResult]) -> Resolve:
    def resolve(host: str, report: OnResult) -> None:
        report(answer(host))

    return resolve


def request(url: str, *, method: str = "POST", body: bytes = b"{}", timeout: float = 5):
    return Request(method, url, (("User-Agent", "test"),), body, timeout)


def test_a_request_arrives_as_it_was_built(make, outcomes, target) -> None:
    body = '{"größe": 1.10}'.encode()
    headers = (
        ("Content-Type", "application/json"),
        ("X-Empty", ""),
        ("webhook-id", "7"),
    )

    make().send(1, Request("POST", target.url + "/a?b=c%20d", headers, body, 5))

    outcome = outcomes.wait_for(1)[1]
    [received] = target.requests
    assert (outcome.status_code, outcome.error) == (200, "")
    assert outcome.answer == b'{"ok": true}'
    assert (received.method, received.path) == ("POST", "/a?b=c%20d")
    assert received.body == body
    assert received.headers["content-type"] == "application/json"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["x-empty"] == ""
    assert "expect" not in received.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_sent_as_they_are(make, outcomes, target, method) -> None:
    make().send(1, request(target.url + "/x", method=method))

    assert outcomes.wait_for(1)[1].status_code == 200
    assert target.requests[0].method == method


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/ü?q=路", "/%C3%BC?q=%E8%B7%AF"),
        ("/a/../b/./c", "/a/../b/./c"),
        ("/100%", "/100%"),
        ("/x#part", "/x"),
        ("/a%2fb/%C3%bc%7E", "/a%2fb/%C3%bc%7E"),
        ("/x?a=%2f%zz&b", "/x?a=%2f%zz&b"),
        ("/x?", "/x?"),
        ("?", "/?"),
        ("", "/"),
        ("#part", "/"),
        ("?a=b#part", "/?a=b"),
        ("/x//../%2e%2E/..;/", "/x//../%2e%2E/..;/"),
        ("/x?next=http://e.org/?a#", "/x?next=http://e.org/?a"),
        ("/{a}|^`<b>[c]\"'*", "/{a}|^`<b>[c]\"'*"),
        ("/%00%0d%0aX:%20y", "/%00%0d%0aX:%20y"),
        ("/@:80/x", "/@:80/x"),
    ],
)
def test_a_path_is_changed_only_as_http_demands(
    make, outcomes, target, path, wire
) -> None:
    make().send(1, request(target.url + path))

    outcomes.wait_for(1)
    assert target.requests[0].path == wire


def test_credentials_in_the_url_become_basic_authentication(
    make, outcomes, target
) -> None:
    make().send(1, request(target.url.replace("://", "://user:p%40ss@") + "/x"))

    outcomes.wait_for(1)
    assert target.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"


def test_a_large_body_arrives_whole(make, outcomes, target) -> None:
    body = b"x" * 1_000_000

    make().send(1, request(target.url + "/x", body=body))

    outcomes.wait_for(1)
    assert target.requests[0].body == body


def test_connections_are_used_again(make, outcomes, raw) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(OK)
        while connection.recv(65536):
            connection.sendall(OK)

    server = raw(serve)
    transport = make()
    for number in range(5):
        transport.send(number, request(server.url))
        outcomes.wait_for(number + 1)

    assert server.connections == 1


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 410, 429, 500, 503])
def test_a_status_is_reported_and_a_redirect_not_followed(
    make, outcomes, raw, status
) -> None:
    elsewhere = raw(lambda connection: connection.sendall(OK))
    server = raw(
        lambda c: c.sendall(
            f"HTTP/1.1 {status} X\r\nLocation: {elsewhere.url}\r\nRetry-After: 7\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
    )

    make().send(1, request(server.url)._replace(heeds_retry_headers=True))

    outcome = outcomes.wait_for(1)[1]
    # Whoever has succeeded need not be asked again.
    assert (outcome.status_code, outcome.retry_after) == (
        status,
        7 if status > 300 else 0,
    )
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("Retry-After: 86400", 86_400),
        ("retry-after:  99999999999999999999 ", 999_999_999_999_999_999),
        ("Retry-After: soon", 0),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "Retry-After: Mon, 07 Nov 1994 08:49:37 GMT",
            86_400,
        ),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0),
    ],
)
def test_patience_is_as_long_as_the_target_asks(
    make, outcomes, raw, headers, seconds
) -> None:
    server = raw(
        lambda c: c.sendall(
            b"HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n\r\n"
            b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n" + headers.encode() + b"\r\n\r\n"
        )
    )

    make().send(1, request(server.url)._replace(heeds_retry_headers=True))

    assert outcomes.wait_for(1)[1].retry_after == seconds


def drip(prefix: bytes) -> Callable[[socket.socket], None]:
    def script(connection: socket.socket) -> None:
        connection.sendall(prefix)
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(b"x")

    return script


@pytest.mark.parametrize(
    "prefix",
    [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
)
def test_a_dripping_server_does_not_stretch_the_deadline(
    make, outcomes, raw, prefix
) -> None:
    server = raw(drip(prefix))

    make().send(1, request(server.url, timeout=0.5))

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code is None
    assert "timed out" in outcome.error or "not HTTP" in outcome.error
    assert outcome.duration_ms < 1500


def test_a_server_that_says_nothing_is_given_up(make, outcomes, raw) -> None:
    server = raw(lambda connection: connection.recv(1))

    make().send(1, request(server.url, timeout=0.3))

    assert outcomes.wait_for(1)[1].error.startswith("timed out")


def test_an_answer_is_read_up_to_a_cap(make, outcomes, raw) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    make().send(1, request(raw(endless).url))

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code == 200
    assert outcome.answer == b"x" * MAX_ANSWER_BYTES


def test_an_answer_is_never_unpacked(make, outcomes, raw) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"

    make().send(1, request(raw(lambda c: c.sendall(head.encode() + bomb)).url))

    assert outcomes.wait_for(1)[1].answer == bomb[:MAX_ANSWER_BYTES]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\1\2\3",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"X-Flood: y\r\n" * 100_000,
    ],
)
def test_what_is_no_whole_answer_is_an_error(make, outcomes, raw, answer) -> None:
    make().send(1, request(raw(lambda c: c.sendall(answer)).url, timeout=2))

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code is None
    assert outcome.error


def test_a_refused_connection_says_so(make, outcomes) -> None:
    make().send(1, request("http://127.0.0.1:9/"))

    assert outcomes.wait_for(1)[1].error == "connection refused"


def test_proxies_of_the_environment_are_ignored(
    make, outcomes, target, raw, monkeypatch
) -> None:
    proxy = raw(lambda connection: connection.sendall(OK))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)

    make().send(1, request(target.url + "/x"))

    assert outcomes.wait_for(1)[1].answer == b'{"ok": true}'
    assert proxy.connections == 0


def test_nothing_inside_is_connected_to_however_it_is_spelled(
    make, outcomes, target
) -> None:
    port = target.url.rpartition(":")[2]
    urls = [*REFUSED_URLS, target.url]
    urls += [
        f"http://[{a}]:{port}/" if ":" in a else f"http://{a}:{port}/" for a in INSIDE
    ]
    transport = make(allow_private=False)

    for url in urls:
        transport.send(url, request(url))

    found = outcomes.wait_for(len(urls))
    assert {outcome.status_code for outcome in found.values()} == {None}
    assert target.requests == []


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]]
)
def test_a_name_with_one_answer_inside_is_refused(
    make, outcomes, target, answers
) -> None:
    port = target.url.rpartition(":")[2]
    transport = make(allow_private=False, resolve=resolving(lambda host: answers))

    transport.send(1, request(f"http://rebinding.example:{port}/"))

    assert outcomes.wait_for(1)[1].error == "target address is not allowed"
    assert target.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    make, outcomes, target
) -> None:
    asked: list[str] = []

    def answer(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = target.url.rpartition(":")[2]
    transport = make(resolve=resolving(answer))

    transport.send(1, request(f"http://no-such-name.example:{port}/x"))

    # No other resolver knows this name, so nobody else was asked.
    assert outcomes.wait_for(1)[1].status_code == 200
    assert asked == ["no-such-name.example"]
    assert target.requests[0].headers["host"] == f"no-such-name.example:{port}"


def test_a_name_that_moves_inside_is_refused_from_then_on(
    make, outcomes, target
) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    transport = make(
        allow_private=False,
        refuse_address=lambda address: "inside" if address.startswith("10.") else None,
        resolve=resolving(lambda host: next(answers)),
        name_lifetime=0.0,
    )
    port = target.url.rpartition(":")[2]

    transport.send(1, request(f"http://moving.example:{port}/"))
    outcomes.wait_for(1)
    transport.send(2, request(f"http://moving.example:{port}/"))

    found = outcomes.wait_for(2)
    assert found[1].status_code == 200
    assert found[2].error == "target address is not allowed"


def test_a_slow_host_takes_its_own_places_only(make, outcomes, target) -> None:
    slow = Receiver("127.0.0.2")
    slow.start()
    slow.answer("/slow", delay=0.5)
    transport = make(max_per_host=2)
    for number in range(6):
        transport.send(("slow", number), request(slow.url + "/slow"))
    transport.send("quick", request(target.url + "/x"))

    found = dict(outcomes.wait_for(1))
    assert "quick" in found
    outcomes.wait_for(7)
    slow.stop()
    assert all(outcome.status_code == 200 for outcome in outcomes.by_key.values())


class Held:
    """Answers nobody until it is told to, and knows how many waited at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._changed = threading.Condition()
        self._is_open = False

    def __call__(self, connection: socket.socket) -> None:
        self.pause()
        connection.sendall(OK)

    def pause(self) -> None:
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open, timeout=20)
            self._now -= 1

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._now >= count, timeout=20)

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


def test_many_names_of_one_address_have_its_places_only(make, outcomes, raw) -> None:
    held = Held()
    server = raw(held)
    port = server.url.split(":")[2].strip("/")
    transport = make(
        max_per_host=5, resolve=resolving(lambda host: ["127.0.0.1", "127.0.0.2"])
    )
    for number in range(40):
        transport.send(number, request(f"http://n{number % 10}.test:{port}/"))
    held.wait_for(5)
    held.open()

    found = outcomes.wait_for(40)
    assert {outcome.status_code for outcome in found.values()} == {200}
    assert held.most == 5


def test_a_tenant_that_waits_for_a_hanging_host_leaves_places_to_others(
    make, outcomes, raw
) -> None:
    held = Held()
    server = raw(held)
    transport = make(max_per_host=20, tenant_of=lambda key: key[0])
    for number in range(50):
        transport.send(("flood", number), request(server.url, timeout=20))
    held.wait_for(18)
    transport.send(("small", 0), request(server.url, timeout=20))

    held.wait_for(19)
    held.open()
    outcomes.wait_for(51)


def test_what_a_hanging_host_keeps_waiting_makes_way_for_other_hosts(
    make, outcomes, raw
) -> None:
    held = Held()
    server = raw(held)
    transport = make(
        max_per_host=5, tenant_of=lambda _: "flood", tenant_limit=lambda _: 20
    )
    for number in range(20):
        transport.send(number, request(server.url, timeout=20))
    held.wait_for(5)

    sent_back = outcomes.wait_for(10)

    assert not any(outcome.was_sent for outcome in sent_back.values())
    assert {outcome.trouble for outcome in sent_back.values()} == {Trouble.CROWDED}
    assert all(outcome.pause >= 2 for outcome in sent_back.values())
    held.open()
    assert {o.was_sent for o in list(outcomes.wait_for(20).values())[10:]} == {True}


def test_a_request_whose_turn_is_refused_is_not_sent(make, outcomes, target) -> None:
    transport = make(may_start=lambda key: key != "late")

    transport.send("late", request(target.url + "/late"))
    transport.send("good", request(target.url + "/good"))

    found = outcomes.wait_for(2)
    assert not found["late"].was_sent
    assert [received.path for received in target.requests] == ["/good"]


def test_closing_finishes_what_runs_and_returns_what_waits(
    make, outcomes, target
) -> None:
    target.answer("/slow", delay=0.5)
    transport = make(max_in_flight=2)
    for number in range(5):
        transport.send(number, request(target.url + "/slow"))
    target.wait_for(2)

    transport.close(grace=5)

    sent = [outcome.was_sent for outcome in outcomes.by_key.values()]
    assert sorted(sent) == [False, False, False, True, True]
    assert outcomes.count == 5
    assert transport.in_flight == 0


def test_hundreds_are_under_way_at_once(make, outcomes, raw) -> None:
    everybody = threading.Barrier(300, timeout=15)

    def serve(connection: socket.socket) -> None:
        everybody.wait()
        connection.sendall(OK)

    server = raw(serve)
    transport = make(max_in_flight=400, max_per_host=400)
    for number in range(300):
        transport.send(number, request(server.url, timeout=20))

    found = outcomes.wait_for(300)
    assert {outcome.status_code for outcome in found.values()} == {200}


class KeptConnections:
    """Keeps connections open, until it is asked to cut: then it closes without a byte."""

    def __init__(self, warm: int) -> None:
        self.cut_requests = 0
        self._warm = threading.Barrier(warm)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(65536):
                if b" /cut " in head:
                    self.cut_requests += 1
                    return
                # All are under way at once, so that each has a connection of its own.
                self._warm.wait(timeout=20)
                connection.sendall(OK)

    def close(self) -> None:
        self._socket.close()


def test_a_request_cut_on_kept_connections_is_sent_once_more_at_most(
    make, outcomes
) -> None:
    transport, server = make(), KeptConnections(warm=5)
    for number in range(5):
        transport.send(number, request(f"{server.url}/warm"))
    outcomes.wait_for(5)

    transport.send("cut", request(f"{server.url}/cut"))

    assert outcomes.wait_for(6)["cut"].error
    assert server.cut_requests == 2
    server.close()


class Forgetful:
    """Keeps connections open, and then closes some of them when a request comes on one."""

    def __init__(self, is_cut: Callable[[int], bool]) -> None:
        self.seen: list[bytes] = []
        self._is_cut = is_cut
        self._kept = 0
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(OK)
        while head := connection.recv(65536):
            if head.startswith(b"xx"):
                continue  # The rest of a large body, which was answered before.
            with self._lock:
                self.seen.append(head.split()[1])
                self._kept += 1
                if self._is_cut(self._kept):
                    return
            connection.sendall(OK)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("size", [2, 1_000_000])
def test_a_request_that_a_kept_connection_lost_is_repeated_on_a_fresh_one(
    make, outcomes, raw, method, size
) -> None:
    held, forgetful = Held(), Forgetful(lambda _: True)

    def serve(connection: socket.socket) -> None:
        # All are under way at once, so that each has a connection of its own.
        held.pause()
        forgetful(connection)

    server = raw(serve)
    transport = make()
    for number in range(5):
        transport.send(number, request(server.url))
    held.wait_for(5)
    held.open()
    outcomes.wait_for(5)

    body = b"x" * size if method == "POST" else b""
    transport.send("lost", request(server.url + "lost", method=method, body=body))

    assert outcomes.wait_for(6)["lost"].status_code == 200
    # Not on another kept one, that would have been lost like the first.
    assert forgetful.seen == [b"/lost"]
    assert server.connections == 6


def test_a_target_that_closes_a_third_of_its_kept_connections_loses_nothing(
    make, outcomes, raw
) -> None:
    server = raw(Forgetful(lambda number: number % 3 == 0))
    transport = make()
    for number in range(300):
        transport.send(number, request(server.url))

    found = outcomes.wait_for(300)
    assert {(o.status_code, o.error) for o in found.values()} == {(200, "")}


def test_a_request_of_which_an_answer_has_begun_is_not_repeated(
    make, outcomes, raw
) -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(OK)
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")

    transport = make()
    server = raw(serve)
    transport.send(1, request(server.url))
    outcomes.wait_for(1)
    transport.send(2, request(server.url))

    assert outcomes.wait_for(2)[2].error
    assert (len(seen), server.connections) == (1, 1)


def test_a_request_lost_on_a_fresh_connection_is_not_repeated(
    make, outcomes, raw
) -> None:
    server = raw(lambda connection: None)

    make().send(1, request(server.url))

    assert outcomes.wait_for(1)[1].error
    assert server.connections == 1
