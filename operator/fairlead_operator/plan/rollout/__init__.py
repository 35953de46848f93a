"""A rollout: the table of its phases, what each phase waits for, and the revision that it leads to."""
