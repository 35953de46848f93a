"""The reads: Kubernetes, Ray Serve and the gateways, made into one frozen snapshot. Writes nothing, decides nothing."""
