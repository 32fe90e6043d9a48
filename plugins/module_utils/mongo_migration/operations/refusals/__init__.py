"""What the server would refuse, foreseen: validators, unique indexes, keys that it can't index."""
