"""JSON as the API takes it: of bounded size, and nothing that two readers could read differently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from compute.errors import Problem
from sessions.api.problems import ProblemError


class StrictJSONParser(BaseParser):
    """Refuses what is too large, is no UTF-8, repeats a key, or has NaN; says the line and column of a mistake."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise ProblemError("too_large", f"A body may have at most {limit // 1024} KiB.")
        try:
            data = json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_no_twins)
            json.dumps(data, ensure_ascii=False).encode()  # "\ud800" alone is JSON, but no text that could be stored
        except json.JSONDecodeError as error:
            raise _malformed(f"Line {error.lineno}, column {error.colno}: {error.msg}.") from None
        except UnicodeError:
            raise _malformed("The body is not text in UTF-8.") from None
        except RecursionError:
            raise _malformed("The body is nested too deeply.") from None
        except ValueError as error:
            raise _malformed(f"{error}.") from None
        return data


def _malformed(sentence: str) -> ProblemError:
    return ProblemError("malformed", errors=[Problem("", "malformed", sentence)])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("A key is repeated in one object")
    return data
