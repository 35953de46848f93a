"""Ray clusters, gateways and Ray's tokens as Kubernetes objects say them, by list and watch."""
