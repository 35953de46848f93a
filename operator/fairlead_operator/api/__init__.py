"""The contract with users: names, the typed spec and status of a ModelDeployment, and the CRD made from them."""
