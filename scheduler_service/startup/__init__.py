"""Checks before a process begins: if one fails, the process ends with a sentence.

A check only reads. It sits above the apps, because it checks their settings.
"""
