"""The doors for REST clients, one module or package for each wire format."""
