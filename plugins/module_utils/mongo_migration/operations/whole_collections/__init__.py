"""Steps about whole collections: created, dropped (set aside), renamed, rebuilt, validated."""
