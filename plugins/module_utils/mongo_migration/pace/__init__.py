"""How fast to go: what the server shows, and the batch size and pause that follow from it."""
