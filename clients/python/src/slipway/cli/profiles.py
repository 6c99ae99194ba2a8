"""Where the command keeps whom to ask and with what token: one file that only its user may read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click

DEFAULT = "default"


@dataclass(frozen=True)
class Profile:
    """``workspace`` is the one that commands mean when they name none; empty: the only one there is."""

    url: str
    token: str = field(repr=False)
    workspace: str = ""


@dataclass(frozen=True)
class Profiles:
    """``current`` is the profile that commands mean when they name none."""

    current: str = DEFAULT
    known: Mapping[str, Profile] = field(default_factory=dict)

    def with_profile(self, name: str, profile: Profile) -> Profiles:
        """With the profile, which is then the current one."""
        return replace(self, current=name, known={**self.known, name: profile})

    def without(self, name: str) -> Profiles:
        known = {key: profile for key, profile in self.known.items() if key != name}
        return Profiles(self.current if self.current in known else next(iter(known), DEFAULT), known)


def profiles_path() -> Path:
    return Path(click.get_app_dir("slipway")) / "profiles.json"


def load() -> Profiles:
    path = profiles_path()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Profiles(data["current"], {name: Profile(**row) for name, row in data["profiles"].items()})
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(f"{path} can’t be read ({type(error).__name__}). Mend or remove it, then run “slipway login”.") from None


def save(profiles: Profiles) -> Path:
    """Replace the file in one step, readable by its user alone from its first byte."""
    path = profiles_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = {"current": profiles.current, "profiles": {name: asdict(profile) for name, profile in profiles.known.items()}}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profiles-")  # made with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def choose(name: str = "") -> Profile:
    """Whom to ask: ``SLIPWAY_URL`` and ``SLIPWAY_TOKEN``, else the profile. A stored token goes to its own installation only."""
    url, token = os.environ.get("SLIPWAY_URL", "").rstrip("/"), os.environ.get("SLIPWAY_TOKEN", "")
    if url and token:
        return Profile(url, token)
    profiles = load()
    name = name or profiles.current
    profile = profiles.known.get(name)
    if profile is None:
        if url or token:
            missing = "SLIPWAY_TOKEN" if url else "SLIPWAY_URL"
            raise NotSignedIn(f"Set {missing} as well, or run “slipway login”.")
        raise NotSignedIn("You are not signed in: run “slipway login”." if not profiles.known else f"There is no profile {name}.")
    if url and url != profile.url:
        raise NotSignedIn(f"SLIPWAY_URL is not the installation that profile {name} has a token for. Set SLIPWAY_TOKEN as well.")
    return replace(profile, token=token) if token else profile


class NotSignedIn(click.ClickException):
    exit_code = 5
