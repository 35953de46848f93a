"""What a namespace needs so that its models can be served: everything around the RayClusters, and the gateway."""
