"""Kubeflow's PodDefault (v1alpha1) → a configuration. Pure."""

from __future__ import annotations

from dataclasses import replace

from compute.errors import Refused
from compute.validators import validate_dns_label
from presets.exchange import rules
from presets.exchange.drafts import ConfigurationDraft, limit, shortened, slug_of
from presets.exchange.older import without_nulls
from presets.exchange.parts import note, refusal, variables, volumes
from presets.exchange.reading import Document, root
from presets.exchange.workspacekind import cut, described
from presets.models import Configuration

API_VERSION, KIND = "kubeflow.org/v1alpha1", "PodDefault"


def parse(document: Document, prefix: str = "") -> ConfigurationDraft:
    """The configuration that the document asks for. Raises :class:`Refused` with every mistake in it."""
    top = root(replace(document, content=without_nulls(document.content)))
    notes = list(rules.left_out(document.content, rules.POD_DEFAULT))
    spec, metadata = top.get("spec"), top.get("metadata")
    name = metadata.get("name").text(required=True)
    draft = ConfigurationDraft(slug=slug_of(f"{prefix}{name}"), place=document.place(), values={}, notes=notes)
    if name and (why := refusal(validate_dns_label, draft.slug)):
        metadata.get("name").fault("name", why)
    if "selector" not in spec.mapping():
        spec.get("selector").fault("required", "This is missing.")
    draft.namespace = metadata.get("namespace").text()
    draft.values = {"name": cut(spec.get("desc"), Configuration, "name", notes) or shortened(name, limit(Configuration, "name"))}
    if spec.get("automountServiceAccountToken").flag():
        note(notes, spec.get("automountServiceAccountToken"), rules.ACCOUNT)
    env = variables(spec.get("env"), notes, templates=False)
    mounted = volumes(spec.get("volumes"), spec.get("volumeMounts"), notes)
    draft.variables, draft.volumes = env.carried, mounted.carried
    lists = {"env": env.kept, "volumes": mounted.kept_volumes, "volumeMounts": mounted.kept_mounts}
    kept = {key: value for key, value in spec.mapping().items() if key not in lists}
    kept |= {key: value for key, value in lists.items() if value}
    draft.kept = {**described(metadata), "spec": kept} | ({"namespace": draft.namespace} if draft.namespace else {})
    if top.faults:
        raise Refused(top.faults)
    return draft
