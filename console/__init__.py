"""The pages for people: what a tenant has, who its users are, and how they log in.

An edge like the API: a view calls one function of `services`, and has no right that the
API lacks. Each page works without JavaScript.
"""
