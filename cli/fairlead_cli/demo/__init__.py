"""``fairlead demo``: from training to rollback on real parts, each step saying what it just proved."""
