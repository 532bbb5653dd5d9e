"""What this process counts for Prometheus.

Only names and counts live here; who counts what is for the callers.
"""
