"""One worker process: it claims runs, has them delivered, and records what came of
them.

When a run falls due is not decided here.
"""
