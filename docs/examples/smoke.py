"""Create a one-time task, wait for its request on loopback, and print both."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import requests

PATIENCE = 30.0  # seconds until a request that has not arrived counts as lost


class Target(HTTPServer):
    """A receiver that keeps the first request it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.arrived = threading.Event()
        self.headers: dict[str, str] = {}
        self.body: Any = None


class Handler(BaseHTTPRequestHandler):
    server: Target

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.body = json.loads(self.rfile.read(length))
        self.server.headers = {k.lower(): v for k, v in self.headers.items()}
        self.send_response(204)
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: `main` prints what arrived."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", required=True)
    options = parser.parse_args()

    session = requests.Session()
    session.trust_env = False  # neither a proxy nor a .netrc may replace the token
    session.headers["Authorization"] = f"Bearer {options.token}"
    with Target() as target:
        threading.Thread(target=target.serve_forever, daemon=True).start()
        task = {
            "task_type": "one_time",
            "run_datetime": (datetime.now(UTC) + timedelta(seconds=3)).isoformat(),
            "url": f"http://127.0.0.1:{target.server_port}/smoke",
            "post_data": {"hello": "world"},
        }
        created = session.post(f"{options.url}/tasks/", json=task, timeout=10)
        created.raise_for_status()
        address = f"{options.url}/tasks/id/{created.json()['id']}"
        print("task:", session.get(address, timeout=10).json())

        arrived = target.arrived.wait(PATIENCE)
        print("request:", target.headers, target.body)
        target.shutdown()
    print("task afterwards: HTTP", session.get(address, timeout=10).status_code)
    return 0 if arrived else 1


if __name__ == "__main__":
    sys.exit(main())
