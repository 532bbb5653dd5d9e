"""The pages of lanes: how fast requests start, what waits, and what comes."""
