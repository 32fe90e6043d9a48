"""Steps about indexes: built, dropped, replaced, hidden, and brought back as they were."""
