"""Besides rollouts: the stable revision, the kept revisions, suspension and deletion."""
