"""The pages of calendars of days: holidays, blackouts and other days of a tenant.

A form is one way to write the body of a request to the API, whose own reader checks it, so
each rule about a calendar stands once.
"""
