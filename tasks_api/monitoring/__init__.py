"""Who is alive and at work, and what Prometheus and `/readyz` are told of it.

It watches and never acts on a run.
"""
