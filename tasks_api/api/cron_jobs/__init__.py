"""The wire format of cron jobs.

It adds words and chooses policies; it adds no behaviour.
"""
