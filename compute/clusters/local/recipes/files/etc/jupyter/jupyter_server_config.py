"""Part of every image that Slipway builds: Jupyter's token stays out of its pages; the gateway signs in by header."""


def without_token(handler, page_config):
    page_config["token"] = ""
    return page_config


c.ServerApp.tornado_settings = {"page_config_hook": without_token}  # noqa: F821 (Jupyter provides it)
