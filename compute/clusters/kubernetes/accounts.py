"""How the programs of a pod get to know accounts that its image has never heard of. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from compute.workload import Account

# A shell's own means only: not every image has grep. A name that the image knows stays what it is there.
HEAD = """set -u
know() {
  case "$(printf '\\n'; cat "$TARGET/$1")" in *"
$2:"*) ;; *) echo "$2:$3" >>"$TARGET/$1" ;; esac
}
for file in passwd group; do
  printf '%s\\n' "$(cat "/etc/$file" 2>/dev/null)" >"$TARGET/$file"
done
"""


def script(accounts: Sequence[Account], home: str) -> str:
    """Writes ``passwd`` and ``group`` to ``$TARGET``: the image's, and what they lack of the accounts. Their groups have their names."""
    lines = []
    for account in accounts:
        name = shlex.quote(account.name)
        rest = {"passwd": f"x:{account.uid}:{account.gid}::{home or '/'}:/bin/sh", "group": f"x:{account.gid}:"}
        lines += [f"know {file} {name} {shlex.quote(text)}" for file, text in rest.items()]
    return HEAD + "".join(f"{line}\n" for line in lines)
