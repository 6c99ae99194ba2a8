"""YAML text → documents of plain JSON values, and a way to read them that names the place of whatever is wrong.

What comes in is typed by strangers: size, nesting and aliases are bounded, and nothing but JSON's own types gets through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from compute.errors import Problem, Refused

MAX_BYTES = 256 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 60
NOUNS: dict[type, str] = {str: "text", bool: "true or false", int: "a whole number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Source:
    """A file as it was given: ``name`` is what messages call it."""

    name: str
    text: str


@dataclass(frozen=True)
class Document:
    """One document of a file; ``number`` counts from 1."""

    file: str
    number: int
    content: dict[str, Any]

    def place(self, path: str = "") -> str:
        return ", ".join(part for part in (self.file, f"document {self.number}", path) if part)


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: dates are text, and a key that comes twice is a mistake."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MAX_NODES:  # merge keys of merge keys grow without end
            raise yaml.constructor.ConstructorError(None, None, "too many entries", node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key.value for key, _ in node.value if key.tag == "tag:yaml.org,2002:str"]
        if len(own) != len(set(own)):
            twice = next(key for number, key in enumerate(own) if key in own[:number])
            raise yaml.constructor.ConstructorError(None, None, f"the key {str(twice)[:60]!r} comes twice", node.start_mark)
        self.flatten_mapping(node)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(source: Source) -> list[Document]:
    """The documents of a file, without empty ones. Raises :class:`Refused`, with the line where YAML can tell it."""
    if len(source.text.encode(errors="replace")) > MAX_BYTES:
        raise _refused(source.name, "too_large", f"The file is larger than {MAX_BYTES // 1024} KiB.")
    try:
        loaded = list(yaml.load_all(source.text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise _refused(f"{source.name}{line}", "yaml", f"This is not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise _refused(source.name, "yaml", f"This is not valid YAML: {str(error).splitlines()[0]}.") from None
    except (ValueError, RecursionError, TypeError, AttributeError, OverflowError):  # the parser's own limits and slips
        raise _refused(source.name, "yaml", "This is not valid YAML: it nests too deep, or holds a value that is none.") from None
    documents = []
    for number, content in enumerate(loaded, 1):
        if content is None:
            continue
        place = f"{source.name}, document {number}"
        plain = _Plain(place).of(content, (), 0)
        if not isinstance(plain, dict):
            plain = {"": plain}  # a bare profile_list is one; whoever reads it knows
        documents.append(Document(source.name, number, plain))
    if not documents:
        raise _refused(source.name, "empty", "There is nothing in it.")
    return documents


def _refused(place: str, code: str, message: str) -> Refused:
    return Refused(Problem(place, code, message))


class _Plain:
    """A copy without aliases, of JSON's types only. An alias that unfolds to very much is refused, not unfolded."""

    def __init__(self, place: str) -> None:
        self.place, self.nodes = place, 0

    def of(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self._wrong(path[:6], "too_much", "It has too many values, or nests too deep.")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str) or not _storable(key):
                    raise self._wrong(path, "key", f"Write keys as text: {str(key)[:60]!r} is none.")
            return {key: self.of(item, (*path, key), depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, (*path, f"[{number}]"), depth + 1) for number, item in enumerate(value)]
        if isinstance(value, str) and not _storable(value):
            raise self._wrong(path, "text", "This text has characters that can't be stored.")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(path, "number", "This is not a number.")
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        raise self._wrong(path, "type", "Write text, a number, true, false, a list or an object.")

    def _wrong(self, path: tuple[str, ...], code: str, message: str) -> Refused:
        return _refused(f"{self.place}, {'.'.join(path)[:200]}" if path else self.place, code, message)


def _storable(text: str) -> bool:
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True)
class Node:
    """A value at its place in a document. Absent and null are the same. What has another type than asked for is written
    into ``faults`` and read as absent, so that one look finds every mistake."""

    value: Any
    path: str
    document: Document
    faults: list[Problem] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.value is not None

    def fault(self, code: str, message: str) -> None:
        self.faults.append(Problem(self.document.place(self.path), code, message))

    def get(self, *keys: str) -> Node:
        """The value below these keys."""
        node = self
        for key in keys:
            inner = node.mapping()
            node = Node(inner.get(key), f"{node.path}.{key}" if node.path else key, node.document, node.faults)
        return node

    def mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = self._typed(dict, {})
        return found

    def entries(self) -> Iterator[tuple[str, Node]]:
        for key in self.mapping():
            yield key, self.get(key)

    def items(self, name: str = "") -> list[Node]:
        """The items of a list, each an object; ``name`` is the key that an item must have and is called by. Names are unique."""
        nodes: list[Node] = []
        seen: set[str] = set()
        for number, value in enumerate(self._typed(list, [])):
            node = Node(value, f"{self.path}[{number}]", self.document, self.faults)
            if value is None or not isinstance(value, dict):
                node.fault("type", "Write an object.")
                continue
            called = node.get(name).text(required=True) if name else ""
            if name and not called:
                continue
            if name and called in seen:
                node.fault("twice", f"Another item has the {name} “{called[:60]}”.")
                continue
            seen.add(called)
            nodes.append(Node(value, f"{self.path}[{called}]", self.document, self.faults) if name else node)
        return nodes

    def text(self, default: str = "", required: bool = False) -> str:
        found = str(self._typed(str, default)).strip()
        if required and not found:
            self.fault("required", "This is missing.")
        return found

    def flag(self) -> bool:
        return bool(self._typed(bool, False))

    def number(self, default: int = 0) -> int:
        found = self._typed(int, default)
        return default if isinstance(found, bool) else int(found)

    def quantity(self) -> str:
        """A Kubernetes quantity, which may be written as a number."""
        if isinstance(self.value, (int, float)) and not isinstance(self.value, bool):
            return str(self.value)[:40]
        return self.text()

    def _typed(self, wanted: type, default: Any) -> Any:
        if self.value is None:
            return default
        if not isinstance(self.value, wanted) or (wanted is int and isinstance(self.value, bool)):
            self.fault("type", f"Write {NOUNS[wanted]}.")
            return default
        return self.value


def root(document: Document) -> Node:
    return Node(document.content, "", document)
