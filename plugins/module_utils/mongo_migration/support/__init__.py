"""Tools that know nothing of migrations: retries, progress, stopping, processes, reading ahead."""
