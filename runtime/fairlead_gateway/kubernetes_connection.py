"""The connection to the API server, by the Kubernetes client's configuration.

Importing the client takes most of a gateway's start (1.6 s of processor time), so this module is imported by a thread
beside the running agent. The client's typed models are not used: they would cost two seconds and fifty megabytes more.
"""

from pathlib import Path
from typing import Any

from kubernetes.aio import client, config


async def load_configuration(kubeconfig: Path | None) -> Any:
    """The configuration of a kubeconfig file, or of the pod's service account.

    Raises:
        ValueError: it can't be read, or lacks something.
    """
    settings = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            await config.load_kube_config(config_file=str(kubeconfig), client_configuration=settings)
    except config.ConfigException as error:
        raise ValueError(str(error)) from error
    return settings


def make_client(settings: Any) -> Any:
    """The client. It reads the certificates, which takes a tenth of a second of processor time."""
    return client.ApiClient(settings)
