#!/bin/sh
# Start two PostgreSQL nodes with Patroni, etcd and HAProxy on this machine, to try a
# failover. See README.md. `start.sh --help` lists the options.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH="$root" exec "$root/.venv/bin/python" "$root/deploy/ha/stack.py" "$@"
