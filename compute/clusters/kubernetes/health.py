"""Whether a cluster can be used now, and which rights are missing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from compute.clusters.base import ClusterError, Health
from compute.clusters.kubernetes.client import Connection

# Every verb that the driver uses, by (API group, resource): deploy/kubernetes' ClusterRole is tested against it.
RIGHTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "statefulsets"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "pods"): ("get", "list", "watch", "delete"),
    ("", "pods/log"): ("get",),
    ("", "secrets"): ("create", "patch", "delete"),
    ("", "persistentvolumeclaims"): ("get", "list", "watch", "create", "delete"),
    ("", "events"): ("list", "watch"),
    ("", "namespaces"): ("get", "create", "patch"),
    ("", "resourcequotas"): ("create", "patch", "delete"),
    ("networking.k8s.io", "networkpolicies"): ("create", "patch"),
}
CREATE_NAMESPACES = ("", "namespaces", "create")
BY_NAMESPACE = "Slipway has its rights namespace by namespace: make each workspace's namespace yourself, and give them there, too."
ASKED_AT_ONCE = 8
LOOKED_AT = 20  # namespaces at most, where a right is not given everywhere

Right = tuple[str, str, str]  # API group, resource, verb


def health(connection: Connection, namespaces: Sequence[str] = ()) -> Health:
    """Never raises: what is wrong is a problem in words. A right that isn't given everywhere is looked for in the namespaces."""
    places, notes = tuple(namespaces[:LOOKED_AT]), list[str]()
    try:
        version = connection.call("GET", "/version").get("gitVersion", "")
        rights = [(group, resource, verb) for (group, resource), verbs in RIGHTS.items() for verb in verbs]
        refused = _refused(connection, [(right, "") for right in rights])
        # Where each right is missing: () is everywhere.
        missing: dict[Right, tuple[str, ...]] = {right: () for right, _ in refused}
        bound = [right for right in missing if not _is_for_all(right)] if places else []
        inside = _refused(connection, [(right, place) for right in bound for place in places])
    except ClusterError as error:
        return Health(ok=False, problems=(str(error),))
    for right in bound:
        lacking = tuple(place for other, place in inside if other == right)
        if lacking == places:
            continue
        del missing[right]
        notes = [BY_NAMESPACE]
        if lacking:
            missing[right] = lacking
    if notes:
        missing.pop(CREATE_NAMESPACES, None)  # whoever gives rights namespace by namespace makes the namespaces, too
    return Health(ok=not missing, version=version, problems=_sentences(missing), notes=tuple(notes))


def _is_for_all(right: Right) -> bool:
    """What has no namespace, and what the controller watches: in all namespaces at once."""
    verb = right[2]
    return right == CREATE_NAMESPACES or (verb in ("list", "watch") and "watch" in RIGHTS[right[:2]])


def _refused(connection: Connection, questions: list[tuple[Right, str]]) -> list[tuple[Right, str]]:
    """Of these rights, each in a namespace or ("") everywhere, those that Slipway does not have."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        answers = pool.map(partial(_may, connection), questions)
        return [question for question, allowed in zip(questions, answers, strict=True) if not allowed]


def _may(connection: Connection, question: tuple[Right, str]) -> bool:
    (group, resource, verb), namespace = question
    name, _, subresource = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": name, "subresource": subresource, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = connection.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool((answer.get("status") or {}).get("allowed"))


def _sentences(missing: dict[Right, tuple[str, ...]]) -> tuple[str, ...]:
    """One per resource and places."""
    verbs: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (_, resource, verb), places in missing.items():
        verbs.setdefault((resource, places), []).append(verb)
    return tuple(
        f"Slipway lacks the right to {_listed(lacking)} {resource}{f' in {_listed([*places])}' if places else ''}."
        for (resource, places), lacking in verbs.items()
    )


def _listed(verbs: list[str]) -> str:
    *first, last = verbs
    return f"{', '.join(first)} and {last}" if first else last
