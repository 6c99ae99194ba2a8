"""The contexts that the kubeconfig names, for checking one as it is typed."""

from __future__ import annotations

import os

from kubernetes.config.kube_config import list_kube_config_contexts

NAMED = 10


def problem(context: str) -> str:
    """Empty if the kubeconfig has the context, or if this process can read none; else a sentence. Reads a file, dials nothing."""
    try:
        contexts, _ = list_kube_config_contexts(os.environ.get("KUBECONFIG") or None)
        names = sorted(str(known["name"]) for known in contexts)
    except Exception:
        # None here, or none that makes sense: the cluster's health says what is wrong with it, and this is no reason to refuse.
        return ""
    if context in names:
        return ""
    shown = ", ".join(f"“{name}”" for name in names[:NAMED]) + (" and more" if len(names) > NAMED else "")
    return f"The kubeconfig has no context of this name. It has {shown or 'none'}."
