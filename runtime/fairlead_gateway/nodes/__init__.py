"""Which replicas the Ray nodes have: each node's directory is asked by a long poll.

Source: docs/contracts.md, "Replica discovery".
"""
