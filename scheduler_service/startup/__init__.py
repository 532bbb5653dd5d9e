"""What a process checks before it begins, so that it ends in a sentence if the answer
is no.

A check only reads. It sits above the apps, because it checks their settings.
"""
