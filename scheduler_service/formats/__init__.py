"""How Django's admin writes moments and numbers, by language.

The API does not use it.
"""
