"""Put into every image that Slipway builds: packages of one's own, in one's home, after the image's.

The image is shared and read-only. ``pip install`` therefore installs below ``~/.local``, which is kept with the home
volume, and every Python of the image looks there last, so that nothing there can break the IDE itself.
"""

import os
import site
import sys

_home = os.path.expanduser("~/.local")
_version = f"python{sys.version_info.major}.{sys.version_info.minor}"

if not sys.flags.isolated:
    site.addsitedir(os.path.join(_home, "lib", _version, "site-packages"))
    # Only for this image's own pip, not for one of a venv that the user made: so not in the session's environment.
    _program = sys.orig_argv[1:3]
    if _program == ["-m", "pip"] or (_program and os.path.basename(_program[0]).startswith("pip")):
        os.environ.setdefault("PIP_PREFIX", _home)
        os.environ.setdefault("PIP_NO_WARN_SCRIPT_LOCATION", "1")
