"""The replica's own HTTP server: sockets, parsing, limits, drain."""
