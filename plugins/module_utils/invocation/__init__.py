"""How a command was typed: what it may not be combined with, and what it suggests to type next."""
