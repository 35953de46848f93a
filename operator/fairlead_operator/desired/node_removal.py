"""What a node autoscaler may do with a pod: the annotations that Kubernetes' cluster-autoscaler and Karpenter read.

Without them the cluster-autoscaler removes no node with such a pod, as each has an emptyDir volume, and Karpenter
removes any node.

Source: kubernetes/autoscaler, `cluster-autoscaler/FAQ.md`; Karpenter, `pkg/apis/v1/labels.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead_operator.state.serving_class import HeadStorage

STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""Of a pod whose end costs requests: no node is removed under it to save room."""
MOVES = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
"""Of a pod that drains: its node may be removed, as far as a PodDisruptionBudget allows it."""


def of_head(storage: HeadStorage | None) -> Mapping[str, str]:
    """Without a storage the workers end with the head."""
    return STAYS if storage is None else MOVES
