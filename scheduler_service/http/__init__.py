"""What happens to the bytes of a request and an answer before and after Django.

Nothing here knows a URL, a tenant or a format.
"""
