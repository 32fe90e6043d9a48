"""The operations that a migration document can name, and the journal entries that they write.

Each is a file, or a few, that answers everything that is asked of it (:mod:`.base`,
:mod:`.entries`) and stands in :mod:`.registry`.
"""
