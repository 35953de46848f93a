"""The wire: the only importer of HTTP and Kubernetes libraries. Errors leave it as ``errors.FairleadError``."""
