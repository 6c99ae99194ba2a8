"""The contexts that the kubeconfig names, for checking one as it is typed."""

from __future__ import annotations

import os

from kubernetes.config import ConfigException
from kubernetes.config.kube_config import list_kube_config_contexts

NAMED = 10


def problem(context: str) -> str:
    """Empty if the kubeconfig has the context, or if this process can read none; else a sentence. Reads a file, dials nothing."""
    try:
        contexts, _ = list_kube_config_contexts(os.environ.get("KUBECONFIG") or None)
    except (ConfigException, OSError):
        # Another process of Slipway may well have one; the cluster's health says whether it does.
        return ""
    names = sorted(str(known["name"]) for known in contexts)
    if context in names:
        return ""
    shown = ", ".join(f"“{name}”" for name in names[:NAMED]) + (" and more" if len(names) > NAMED else "")
    return f"The kubeconfig has no context of this name. It has {shown or 'none'}."
