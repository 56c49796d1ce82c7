"""Collectives: ops whose tiles travel between chips, and moves of tiles on one chip."""
