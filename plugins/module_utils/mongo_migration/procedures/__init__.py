"""What the modules call: plan, migrate, verify, roll back, preflight and status."""
