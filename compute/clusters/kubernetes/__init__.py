"""Sessions as pods: one StatefulSet and one Secret each, claims, and a guarded namespace per workspace."""

from compute.clusters.kubernetes.driver import KubernetesDriver

__all__ = ["KubernetesDriver"]
