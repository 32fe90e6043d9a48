"""``set_field``: one field of every candidate is filled, in groups that get the same value."""
