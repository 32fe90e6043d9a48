"""The migration engine: exact, resumable changes to a MongoDB database.

It knows nothing of Ansible. Its client, clock, sleep and progress sink are arguments, and every
failure that a person should read is a :class:`~mongo_migration.errors.MigrationError`.
"""
