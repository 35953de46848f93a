"""How the replicas of one Ray node are found: each keeps a locked file in the node's folder and answers for all.

Source: docs/contracts.md, "Replica discovery".
"""
