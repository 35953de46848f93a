"""``fairlead tune``: replicas, batching, threads and resources for a load, from measurements of one replica."""
