"""From files to drafts: which kind of document each is, and who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Flag, auto

from compute.errors import Problem, Refused
from presets.exchange import jupyterhub, poddefault, workspacekind
from presets.exchange.drafts import Draft
from presets.exchange.reading import Document, Source, read, root
from presets.exchange.running import Fetch, Shelf


class Format(Flag):
    KUBEFLOW = auto()
    JUPYTERHUB = auto()


@dataclass(frozen=True)
class Options:
    """``ide``: which IDE the presets are of, where the files do not tell. ``prefix``: what the slugs of all rows begin with.
    ``fetch``: how to get a picture at a web address; None: not at all."""

    formats: Format = Format.KUBEFLOW | Format.JUPYTERHUB
    ide: str = ""
    prefix: str = ""
    fetch: Fetch | None = None


def drafts_of(sources: Iterable[Source], options: Options) -> list[Draft]:
    """Everything that the files ask for. Raises :class:`Refused` with every mistake in all of them."""
    found: list[Draft] = []
    problems: list[Problem] = []
    documents: list[Document] = []
    shelf = Shelf(options.fetch)
    for source in sources:
        try:
            documents += [inner for document in read(source) for inner in _unlisted(document)]
        except Refused as refused:
            problems += refused.problems
    if Format.KUBEFLOW in options.formats:
        for document in filter(_is_map, documents):
            shelf.put(document)
        documents = [document for document in documents if not _is_map(document)]
    for document in documents:
        try:
            found += _parse(document, options, shelf)
        except Refused as refused:
            problems += refused.problems
    why = "No WorkspaceKind in the files takes a picture from this ConfigMap, and Slipway reads nothing else in it."
    problems += [Problem(document.place("kind"), "kind", why) for document in shelf.unused()]
    seen: dict[tuple[type, str], Draft] = {}
    for draft in found:
        other = seen.setdefault((type(draft), draft.slug), draft)
        if other is not draft:
            problems.append(Problem(draft.place, "twice", f"“{draft.slug}” comes twice: the other one is in {other.place}."))
    if problems:
        raise Refused(dict.fromkeys(problems))  # a list that is read twice has its mistakes twice
    return found


def _unlisted(document: Document) -> Iterator[Document]:
    """The items of a ``kind: List``, which kubectl writes; any other document as it is."""
    items = document.content.get("items")
    if document.content.get("kind") not in ("List", "WorkspaceKindList", "PodDefaultList") or not isinstance(items, list):
        yield document
        return
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise Refused(Problem(document.place(f"items[{number - 1}]"), "type", "Write an object."))
        yield replace(document, file=f"{document.file}, item {number}", content=item)


def _is_map(document: Document) -> bool:
    return document.content.get("kind") == "ConfigMap"


def _parse(document: Document, options: Options, shelf: Shelf) -> list[Draft]:
    top = root(document)
    kind, version = document.content.get("kind"), document.content.get("apiVersion")
    if Format.JUPYTERHUB in options.formats and kind is None and jupyterhub.profiles_in(document) is not None:
        return [*jupyterhub.parse(document, options.ide, options.prefix)]
    if Format.KUBEFLOW in options.formats:
        for module in (workspacekind, poddefault):
            if kind == module.KIND and version != module.API_VERSION:
                top.get("apiVersion").fault("version", f"Slipway reads {module.KIND} of {module.API_VERSION}.")
                raise Refused(top.faults)
        if kind == workspacekind.KIND:
            return [workspacekind.parse(document, options.ide, options.prefix, shelf)]
        if kind == poddefault.KIND:
            return [poddefault.parse(document, options.prefix)]
        known = "a WorkspaceKind or a PodDefault" + (", or a profile_list" if Format.JUPYTERHUB in options.formats else "")
    else:
        known = "a profile_list of JupyterHub"
    what = f"a {kind}" if isinstance(kind, str) and kind else "nothing that Slipway knows"
    raise Refused(Problem(document.place("kind" if kind else ""), "kind", f"This is {what[:80]}. Slipway reads {known} here."))
