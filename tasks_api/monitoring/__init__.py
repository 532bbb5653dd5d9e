"""Heartbeats, watchdogs and metrics: which processes live and work, for Prometheus.

The folder observes, and never acts on a run.
"""
