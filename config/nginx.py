"""nginx's configuration: one port for the control plane and for every session's own origin.

nginx is the data plane and Django decides (``sessions.gateway``); ``templates/nginx.conf`` says how.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.template import Context, Engine
from django.template.loader import render_to_string

from sessions import gateway

# No space, quote, brace, semicolon or dollar: a value can't become a directive.
PLAIN = re.compile(r"[A-Za-z0-9._:/@%+,\[\]-]+")
HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# "name:port": nginx asks DNS once, when it starts, so the name must stand for an address that stays (a Service's does).
NAMED_UPSTREAM = re.compile(rf"(?:{HOST_NAME.pattern}):\d{{1,5}}")
PAGES = ("session_unavailable", "web_unavailable")
PAGE_REFRESH_SECONDS = 5


class NginxOptionError(ValueError):
    """An option that can't be used; the message says which, and what to write instead."""


@dataclass(frozen=True)
class NginxOptions:
    """``listen`` is ``address:port``; ``web`` and ``relay`` are ``unix:/path``, ``IP:port`` or ``name:port``; paths are
    absolute.

    ``user`` is for an nginx that is started as root. With an https ``SLIPWAY_URL``, either nginx ends TLS
    (``tls_certificate`` and ``tls_key``) or one of ``trusted_proxies`` (networks) does. ``access_log`` is a file or
    "off"; empty means one in the run directory.
    """

    listen: str
    web: str
    relay: str
    run_dir: Path
    user: str = ""
    access_log: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    trusted_proxies: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises :class:`NginxOptionError`."""
        for flag, value in (
            ("--listen", self.listen),
            ("--web", self.web),
            ("--relay", self.relay),
            ("--run-dir", str(self.run_dir)),
            ("--user", self.user),
            ("--access-log", self.access_log),
            ("--tls-certificate", self.tls_certificate),
            ("--tls-key", self.tls_key),
            *(("--trusted-proxy", network) for network in self.trusted_proxies),
        ):
            if value and not PLAIN.fullmatch(value):
                raise NginxOptionError(f"{flag}: “{value}” holds a character that nginx would take for syntax.")
        for flag, value in (("--web", self.web), ("--relay", self.relay)):
            if not (gateway.ENDPOINT.fullmatch(value) or NAMED_UPSTREAM.fullmatch(value)):
                raise NginxOptionError(f"{flag} must be unix:/path, IP:port or name:port, not “{value}”.")
        if not self.run_dir.is_absolute():
            raise NginxOptionError("--run-dir must be an absolute path.")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise NginxOptionError("Give --tls-certificate and --tls-key together.")
        if settings.SECURE and not (self.tls_certificate or self.trusted_proxies):
            raise NginxOptionError(
                "SLIPWAY_URL is https: give --tls-certificate and --tls-key, or --trusted-proxy with the network of what ends TLS in front."
            )


def render(options: NginxOptions) -> str:
    """The whole configuration file. It holds ``gateway.nginx_key()``: write it readable to nginx alone."""
    options.check()
    apps, web = urlsplit(settings.SLIPWAY_APPS_URL), urlsplit(settings.SLIPWAY_URL)
    open_files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)
    context = {
        **vars(options),
        "listen_options": " ssl http2" if options.tls_certificate else "",
        "open_files": open_files,
        "connections": min(open_files // 2, 8192),
        "log_format": settings.SLIPWAY_LOG_FORMAT,
        "access_log": options.access_log or f"{options.run_dir}/access.log",
        "key": gateway.nginx_key(),
        "secure": settings.SECURE,
        "web_host": web.netloc,
        # A pattern ("*", ".example.com") would take the sessions' hosts as well: nginx serves exact names only.
        "web_names": " ".join(dict.fromkeys(name for name in settings.ALLOWED_HOSTS if HOST_NAME.fullmatch(name))),
        "apps_scheme": apps.scheme,
        "apps_netloc": apps.netloc,
        "apps_pattern": re.escape(apps.hostname or ""),
    }
    template = Engine(dirs=[str(settings.BASE_DIR / "templates")], autoescape=False).get_template("nginx.conf")
    return template.render(Context(context))


def write(options: NginxOptions, output: Path) -> None:
    """Write the configuration (mode 0600) and, below the run directory, the pages that nginx shows by itself."""
    text = render(options)
    pages = options.run_dir / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        context = {"slipway_url": settings.SLIPWAY_URL, "refresh": PAGE_REFRESH_SECONDS}
        (pages / f"{name}.html").write_text(render_to_string(f"gateway/{name}.html", context))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.touch(mode=0o600)
    output.chmod(0o600)
    output.write_text(text)
