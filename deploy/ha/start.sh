#!/bin/sh
# Start a whole cell on this machine, to try failovers: two PostgreSQL nodes with Patroni and
# etcd, Redis with Sentinels or RabbitMQ, two nodes of the service, and HAProxy. See
# README.md. `start.sh --help` lists the options.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH="$root" exec "$root/.venv/bin/python" -m deploy.ha.stack "$@"
