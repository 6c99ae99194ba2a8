"""Settings, all from the environment. A missing or malformed value stops the start with a sentence that names it.

``docs/operators.md`` lists every variable.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config import logs
from config.sqlite import PrivateConnection

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def required(name: str, why: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"Set {name}: {why}")
    return value


def positive(name: str, default: int) -> int:
    try:
        value: int = env.int(name, default=default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None
    if value <= 0:
        raise ImproperlyConfigured(f"{name} must be more than 0.")
    return value


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(given.strip()) for given in env.list(name, default=[]) if given.strip()]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be networks with commas between, such as 10.0.0.0/8: {error}.") from None


DEBUG = env.bool("SLIPWAY_DEBUG", default=False)
SECRET_KEY = required("SLIPWAY_SECRET_KEY", "a long random string that signs cookies and tasks.")
SLIPWAY_ENCRYPTION_KEYS = [
    key.strip()
    for key in required(
        "SLIPWAY_ENCRYPTION_KEYS", "Fernet keys, newest first, with commas between; `python -m config.new_key` makes one."
    ).split(",")
]

# Where browsers find Slipway, and below which domain each session has its own origin.
SLIPWAY_URL = required("SLIPWAY_URL", "the address that users type, such as https://slipway.example.com.").rstrip("/")
SLIPWAY_APPS_URL = required("SLIPWAY_APPS_URL", "the address below which sessions live, such as https://apps.slipway.example.com.").rstrip(
    "/"
)
_public = urlsplit(SLIPWAY_URL)
_apps = urlsplit(SLIPWAY_APPS_URL)
if _public.scheme not in ("http", "https") or not _public.hostname:
    raise ImproperlyConfigured("SLIPWAY_URL must be a whole address, such as https://slipway.example.com.")
if _apps.scheme != _public.scheme or not _apps.hostname:
    raise ImproperlyConfigured("SLIPWAY_APPS_URL must be a whole address with the same scheme as SLIPWAY_URL.")
SECURE = _public.scheme == "https"

ALLOWED_HOSTS = [_public.hostname, *env.list("SLIPWAY_ALLOWED_HOSTS", default=[])]
CSRF_TRUSTED_ORIGINS = [SLIPWAY_URL]

INSTALLED_APPS = [
    "config",
    "sessions",
    "presets",
    "storage",
    "compute",
    "adminsortable2",
    "axes",
    "csp",
    "django_htmx",
    "django_q",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "simple_history",
    "template_partials",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "config.middleware.RequestIdMiddleware",
    "config.middleware.AccessLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "config.middleware.ForbiddenMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context_processors.shell",
            ],
        },
    }
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / '.demo' / 'slipway.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # IMMEDIATE: a transaction that will write waits for its turn at its start, instead of failing half-way.
    DATABASES["default"]["OPTIONS"] = {
        "factory": PrivateConnection,
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-16000;",
    }
else:
    DATABASES["default"].setdefault("CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = positive("SLIPWAY_SIGN_IN_TRIES", 10)
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"
AXES_CLIENT_IP_CALLABLE = "config.middleware.client_address"
AXES_VERBOSE = False

# __Host-: code in a session, on an origin below this host, could otherwise set cookies of these names for this host.
_cookie_prefix = "__Host-" if SECURE else ""
SESSION_COOKIE_NAME = f"{_cookie_prefix}slipway_session"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_NAME = f"{_cookie_prefix}slipway_csrf"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "config.views.csrf_failure"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_SSL_REDIRECT = SECURE
# Whoever asks for these asks this process itself, inside the network, and knows no https there.
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 31536000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        # Open is a form whose answer redirects to the session's own origin.
        "form-action": [SELF, f"{_apps.scheme}://*.{_apps.netloc}"],
    }
}

STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("SLIPWAY_STATIC_ROOT", default=str(BASE_DIR / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("SLIPWAY_TIME_ZONE", default="UTC")
USE_I18N = False
USE_TZ = True

# Measured (docs/adr/0002): ids only, at least once, no order; the sweep repairs what a task lost.
Q_CLUSTER = {
    "name": "slipway",
    "broker_class": "sessions.broker.Broker",
    "orm": "default",
    "workers": positive("SLIPWAY_WORKERS", 4),
    "bulk": 1,
    "queue_limit": 2,
    "poll": 0.2,
    "timeout": 60,
    "retry": 120,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 500,
    "cache": "default",
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "sessions.api.authentication.TokenAuthentication",
        "sessions.api.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated", "sessions.api.scopes.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["sessions.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "sessions.api.problems.handle",
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Slipway API",
    "VERSION": "1",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {"VolumeKindEnum": "storage.models.Volume.Kind"},
}
SLIPWAY_API_RATE = positive("SLIPWAY_API_RATE", 600)  # requests per minute and token
SLIPWAY_API_WAITERS = positive("SLIPWAY_API_WAITERS", 4)  # requests with ?wait= that a web process lets wait at once

SLIPWAY_CURRENCY = os.environ.get("SLIPWAY_CURRENCY", "$")  # environ would take "$" for a reference
SLIPWAY_TRASH_DAYS = positive("SLIPWAY_TRASH_DAYS", 14)
SLIPWAY_START_TIMEOUT = positive("SLIPWAY_START_TIMEOUT", 900)  # seconds; a first image build is part of it
SLIPWAY_STEP_TIMEOUTS = {  # seconds; each ends in Failed with its own reason
    "compute": positive("SLIPWAY_SCHEDULING_TIMEOUT", 600),  # a node that is being added takes minutes
    "image": positive("SLIPWAY_IMAGE_TIMEOUT", 900),
    "storage": positive("SLIPWAY_STORAGE_TIMEOUT", 300),
    "server": positive("SLIPWAY_SERVER_TIMEOUT", 300),
}
SLIPWAY_GRANT_HOURS = positive("SLIPWAY_GRANT_HOURS", 24)
SLIPWAY_SWEEP_SECONDS = positive("SLIPWAY_SWEEP_SECONDS", 5)
SLIPWAY_NAMESPACE = env.str("SLIPWAY_NAMESPACE", default="")  # the namespace that Slipway itself runs in; empty outside of a cluster
SLIPWAY_LOCAL_ROOT = Path(env.str("SLIPWAY_LOCAL_ROOT", default=str(BASE_DIR / ".demo" / "local")))
SLIPWAY_LOCAL_USER = env.str("SLIPWAY_LOCAL_USER", default="slipway-ide")  # used only when started as root
SLIPWAY_LOCAL_ALLOW_PUBLIC = env.bool("SLIPWAY_LOCAL_ALLOW_PUBLIC", default=False)
SLIPWAY_METRICS_TOKEN = env.str("SLIPWAY_METRICS_TOKEN", default="")  # without one there is no /metrics
if 0 < len(SLIPWAY_METRICS_TOKEN) < 24:
    raise ImproperlyConfigured("SLIPWAY_METRICS_TOKEN must have at least 24 characters; `openssl rand -hex 24` makes one.")
# Networks that webhooks may reach although they are not public, and without https.
SLIPWAY_WEBHOOK_ALLOW_PRIVATE = networks("SLIPWAY_WEBHOOK_ALLOW_PRIVATE")
SLIPWAY_WEBHOOK_KEEP_DAYS = positive("SLIPWAY_WEBHOOK_KEEP_DAYS", 14)
SLIPWAY_DEMO = env.bool("SLIPWAY_DEMO", default=False)  # shows the demo's accounts on the sign-in page

SLIPWAY_LOG_FORMAT = env.str("SLIPWAY_LOG_FORMAT", default="line")
if SLIPWAY_LOG_FORMAT not in logs.FORMATS:
    raise ImproperlyConfigured(f"SLIPWAY_LOG_FORMAT must be one of {', '.join(logs.FORMATS)}.")
LOGGING = logs.configuration(SLIPWAY_LOG_FORMAT, env.str("SLIPWAY_LOG_LEVEL", default="INFO"))
