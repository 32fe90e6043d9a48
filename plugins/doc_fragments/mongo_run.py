"""Documentation of the options that steer how a run writes, and what it records of its change."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of ``mongo_migration.argument_specs.RUN_OPTIONS`` and ``CHANGE_OPTIONS``."""

    DOCUMENTATION = r"""
options:
  batch_size:
    description:
      - How many documents are written at a time. A stop, a failover or a kill repeats at most one
        batch, without effect.
      - Bigger is faster and delays other users of the database more.
      - If left out, the throttle chooses between 100 and 20,000 while others write, and 20,000 are
        written at a time in maintenance mode. A rollback's batches are always those of the run.
    type: int
  throttle:
    description:
      - How much the run may delay others. Above any of these limits, batches become smaller, and
        when they can't, pauses between them longer; far enough below all of them, it goes faster.
      - The progress line says which limit makes the run slow. In maintenance mode nobody is
        delayed, and only O(throttle.pause_seconds) counts.
      - Changeable while it runs, see M(mongo_migration_control).
      - A limit whose measure the server doesn't show to this user is left out, with a warning.
    type: dict
    suboptions:
      pause_seconds:
        description: The least pause after each batch, at most 60. The default is 0.
        type: float
      target_seconds:
        description:
          - How long the server may work on a batch, not counting the wait for a majority. The
            default is 0.03, which keeps the latency of others low; more is faster.
        type: float
      max_lag_seconds:
        description: How far the majority of the members may be behind. The default is 2.
        type: float
      max_latency_ratio:
        description:
          - How many times slower other users' operations may be (their 95th percentile) than just
            before the run. The default is 2.
        type: float
      min_free_tickets:
        description: Share of the storage engine's tickets to leave free. The default is 0.25.
        type: float
      max_dirty_ratio:
        description: Share of the cache that may be dirty. The default is 0.15.
        type: float
  lease_seconds:
    description:
      - How long the lease of the database lives without being renewed; it is renewed at a third of
        this. A process that was killed keeps others out for this long.
    type: int
    default: 30
  retry_seconds:
    description:
      - How long to wait, without any progress, for a network that fails, a primary that is being
        elected, a majority of members that could confirm a write, or a lock that somebody else
        holds. The progress says what is waited for; a stop ends it.
    type: int
    default: 300
  progress_file:
    description:
      - File that is replaced twice a second with the progress, as JSON, for whoever shows it.
      - In a folder whose name begins with C(mongo-attended-), which the module makes and removes,
        the file C(order) with the name of a signal stops it, and so does a file C(watched) that
        wasn't touched for a minute. So the action plugin attends it over SSH.
    type: path
  secrets:
    description:
      - Values of the environment variables that a C(command) step of the document asks for, by
        name. They reach that command alone, and are replaced by asterisks in its output.
      - Kept neither in the database nor in the evidence.
    type: dict
    default: {}
notes:
  - C(SIGINT), C(SIGTERM) and C(SIGHUP) end the run at the next batch boundary, with the lease
    released and the phase C(interrupted); the same task resumes it.
"""

    CHANGE = r"""
options:
  change:
    description:
      - What is recorded of the change that this belongs to, for the auditor. Any keys; the
        playbooks write C(ticket), C(operator), C(approver) and C(revision).
      - Kept in the database and in the evidence, so put no secret in it.
    type: dict
    default: {}
"""
