"""The contexts that the kubeconfig names, for checking one as it is typed."""

from __future__ import annotations

import os

from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

NAMED = 10


def problem(context: str) -> str:
    """Empty if the kubeconfig has the context, or if this process can read none; else a sentence. Reads files, dials nothing."""
    try:
        # Not list_kube_config_contexts: it wants a current context that works, which is another question.
        config = KubeConfigMerger(os.environ.get("KUBECONFIG") or KUBE_CONFIG_DEFAULT_LOCATION).config
        names = None if config is None else sorted(str(known["name"]) for known in config.value["contexts"])
    except Exception:
        # None that makes sense: the cluster's health says what is wrong with it, and this is no reason to refuse.
        return ""
    if names is None or context in names:
        return ""
    shown = ", ".join(f"“{name}”" for name in names[:NAMED]) + (" and more" if len(names) > NAMED else "")
    return f"The kubeconfig has no context of this name. It has {shown or 'none'}."
