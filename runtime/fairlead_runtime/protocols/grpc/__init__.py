"""gRPC as the gateway hands it on: one message in, one message out, over HTTP/1.1 (docs/decisions/0055)."""
