"""Endpoints for operators and developers: health, metrics and the OpenAPI document.

No tenant's rows are shown here.
"""
