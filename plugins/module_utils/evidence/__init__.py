"""Evidence of a run: a folder whose later changes are noticed, and a report made of it.

It knows nothing of Ansible. ``log.jsonl`` is a chain of hashes, line by line (:mod:`.chain`);
``seal.json`` holds the SHA-256 of every file and points to the seal before it (:mod:`.seal`);
``run.json`` says which run it was and how it ended (:mod:`.record`).
"""
