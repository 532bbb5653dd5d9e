"""One worker process: it claims runs, has them delivered, and records the results.

When a run falls due is not decided here.
"""
