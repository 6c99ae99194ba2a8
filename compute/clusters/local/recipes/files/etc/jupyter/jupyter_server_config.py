"""For every JupyterLab that Slipway starts. Jupyter would put its token into its pages, where code in a notebook's output
could read it; the gateway signs in by header."""


def without_token(handler, page_config):
    page_config["token"] = ""
    return page_config


c.ServerApp.tornado_settings = {"page_config_hook": without_token}  # noqa: F821 (Jupyter provides it)
