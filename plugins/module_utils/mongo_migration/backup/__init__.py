"""Backup and restore of one database: consistent, verified, in mongodump's layout.

From the bottom up: names and gzip members, the archive that is made of them, the manifest in it,
dump and restore, the folder that keeps archives, and on top what the modules call:
:func:`create.back_up` and :func:`restore.restore`.
"""
