"""The local cluster: real Kubernetes control plane, Ray, gateway and operator as processes on loopback."""
