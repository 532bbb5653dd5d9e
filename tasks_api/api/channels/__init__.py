"""The API of channels and of the rules that send notices to them."""

from __future__ import annotations
