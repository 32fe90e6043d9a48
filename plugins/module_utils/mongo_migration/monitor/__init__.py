"""What to watch before, during and after a migration: numbers with limits, and what to do.

``look`` reads the server, ``measure`` makes named numbers of one or two looks, ``judge`` holds them
to their limits. ``apps`` asks applications and needs nothing but Python.
"""
