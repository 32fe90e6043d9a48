"""For those who write migrations: a new document, and the lint of documents."""
