"""The pull queue: clients fetch, extend and complete messages.

Its rules live in `services.pull_queue`.
"""
