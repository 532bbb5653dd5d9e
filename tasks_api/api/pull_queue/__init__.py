"""The pull queue: messages that consumers lease, acknowledge and delete.

Its rules live in `services.pull_queue`.
"""
