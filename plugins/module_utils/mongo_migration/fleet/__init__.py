"""Many databases of one deployment: the procedures of one, again and again, in lanes."""
