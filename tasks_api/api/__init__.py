"""The doors for REST clients, one module for each wire format."""
