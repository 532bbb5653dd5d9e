"""What operators and developers ask: health, metrics, and the OpenAPI document.

No tenant's rows are shown here.
"""
