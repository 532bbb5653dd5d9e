"""The API of lanes."""

from __future__ import annotations
