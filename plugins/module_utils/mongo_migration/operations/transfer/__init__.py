"""Documents that go elsewhere: to another collection, to another ``_id``, out of an array.

What leaves, what comes, what stays in its owner and what refers to it is one batch: in one
transaction, or on a standalone server by one journal entry that can be finished and taken back.
"""
