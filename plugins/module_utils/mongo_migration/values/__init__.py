"""What a value is: extended JSON, raw BSON, comparison and digests. Knows no server."""
