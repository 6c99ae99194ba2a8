"""For every JupyterLab that Slipway starts. Jupyter would put its token into its pages, where code in a notebook's output
could read it; the gateway signs in by header. And its terminals would be login shells, which on some systems forget the
session's PATH: its Python, and what Slipway puts there."""

import os
import shutil


def without_token(handler, page_config):
    page_config["token"] = ""
    return page_config


c.ServerApp.tornado_settings = {"page_config_hook": without_token}  # noqa: F821 (Jupyter provides it)
c.ServerApp.terminado_settings = {"shell_command": [os.environ.get("SHELL") or shutil.which("bash") or "sh"]}  # noqa: F821
