"""The metrics of this process for Prometheus.

The folder holds names and counts only. The callers decide when to count.
"""
