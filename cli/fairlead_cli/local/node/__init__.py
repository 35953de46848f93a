"""`fairlead local up --node`: a Kubernetes node with pods, in namespaces of its own on this machine."""
