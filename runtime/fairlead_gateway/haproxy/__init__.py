"""HAProxy as the gateway drives it: what it should have, what it was read to have, how to get from one to the other.

`wanted` (pure) turns routes into configuration, maps and server slots; `observed` (pure) parses what HAProxy answers;
`changes` (pure) compares the two; `control`, `process` and `router` do I/O.
"""
