"""What clients ask of the gateway itself, by gRPC or REST: HAProxy hands it on to the agent by HTTP/1.1."""
