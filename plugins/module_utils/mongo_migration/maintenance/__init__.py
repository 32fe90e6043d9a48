"""Maintenance mode: the flag, the write block, the drain, and the proof that nobody writes."""
