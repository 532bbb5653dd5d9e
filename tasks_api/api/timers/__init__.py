"""The wire format of timers.

It adds words and chooses policies; it adds no behaviour.
"""
