"""The migration document: read, validated, and bound to the collections of one deployment."""
