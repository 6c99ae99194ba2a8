"""What a cluster accepts, checked where an admin or a user types it. Every message says how to mend the value."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from django.core.exceptions import ValidationError
from django.utils.deconstruct import deconstructible
from docker_image.reference import InvalidReference, Reference

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME_MAX = 45  # leaves room for "-<6 random>" within the 52 characters of a StatefulSet's name
GIB = 1024**3
# Kubernetes' own grammar (apimachinery, resource.Quantity). Its Python parser also takes "1_000", "1e3Gi" and "٣".
QUANTITY = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE])?", re.ASCII)

SLURM_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
SLURM_ADMINS = frozenset({"root", "slurm"})

# Slipway and the IDEs own these; a user's value would break the session or the tunnel to it.
RESERVED_ENV = frozenset({"HOME", "PATH", "USER", "LOGNAME", "SHELL", "PWD", "LD_PRELOAD", "LD_LIBRARY_PATH"})
RESERVED_ENV_PREFIXES = ("SLIPWAY_", "JUPYTERHUB_", "KUBERNETES_")
RESERVED_ENV_IDE = frozenset({"JUPYTER_TOKEN", "PASSWORD", "HASHED_PASSWORD", "NB_PREFIX"})
HOME_PATH = "/home/user"
RESERVED_PATHS = (
    *("/", "/bin", "/boot", "/dev", "/etc", "/home", HOME_PATH, "/lib", "/lib64", "/opt", "/proc"),
    *("/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var"),  # noqa: S108  (names, not files)
)


def validate_dns_label(value: str) -> None:
    """A DNS label: what Kubernetes accepts as a namespace, claim or host name."""
    if not DNS_LABEL.fullmatch(value) or len(value) > 63:
        raise ValidationError(
            "Use lower-case letters, digits and hyphens, starting and ending with a letter or digit (at most 63).",
            code="dns_label",
        )


def validate_name(value: str) -> None:
    """A name that Slipway adds a random ending to: a DNS label of at most 45 characters that starts with a letter."""
    if len(value) > NAME_MAX:
        raise ValidationError(f"Use at most {NAME_MAX} characters.", code="name_too_long")
    if not DNS_LABEL.fullmatch(value) or not value[0].isalpha():
        raise ValidationError(
            "Use lower-case letters, digits and hyphens, starting with a letter, such as “sales-forecast”.",
            code="name_invalid",
        )


@lru_cache(maxsize=4096)
def parse_quantity(value: str) -> Decimal:
    """The exact value of a Kubernetes quantity: "500m" → 0.5, "2Gi" → 2147483648. ValueError if it is none."""
    # Imported late: the kubernetes package costs a second, and most processes never parse a quantity.
    from kubernetes.utils.quantity import parse_quantity as parse

    if not QUANTITY.fullmatch(value):
        raise ValueError("not a quantity")
    return Decimal(parse(value))


@deconstructible
class QuantityValidator:
    """A Kubernetes quantity between ``minimum`` and ``maximum`` (themselves quantities), both included."""

    def __init__(self, minimum: str, maximum: str, example: str) -> None:
        self.minimum, self.maximum, self.example = minimum, maximum, example

    def __call__(self, value: str) -> None:
        try:
            amount = parse_quantity(str(value).strip())
        except (ValueError, ArithmeticError):
            raise ValidationError(f"This is not a quantity. Write it like {self.example}.", code="quantity") from None
        if not amount.is_finite() or not parse_quantity(self.minimum) <= amount <= parse_quantity(self.maximum):
            raise ValidationError(f"Choose between {self.minimum} and {self.maximum}.", code="quantity_range")
        if amount * 1000 % 1:
            raise ValidationError("A thousandth (1m) is the smallest step.", code="quantity_precision")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantityValidator) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.minimum, self.maximum, self.example))


validate_cpu = QuantityValidator("10m", "512", "500m or 2")
validate_memory = QuantityValidator("64Mi", "24Ti", "512Mi or 4Gi")
validate_storage = QuantityValidator("1Mi", "512Ti", "5Gi")


def validate_env_name(value: str) -> None:
    """An environment variable's name that a user, a configuration or a bundle may set."""
    if not ENV_NAME.fullmatch(value) or len(value) > 128:
        raise ValidationError(
            f"“{value}” is not a valid name: use letters, digits and underscores, not starting with a digit.",
            code="env_invalid",
        )
    if value in RESERVED_ENV | RESERVED_ENV_IDE or value.startswith(RESERVED_ENV_PREFIXES):
        raise ValidationError(f"“{value}” is reserved: Slipway sets it. Choose another name.", code="env_reserved")


def validate_mount_path(value: str) -> None:
    """An absolute, normalised path outside the system's own folders."""
    if not value.startswith("/"):
        raise ValidationError("Start the path with a slash, such as /data/sales.", code="path_relative")
    normal = posixpath.normpath(value)
    if normal != value or "//" in value:
        raise ValidationError(f"Write the path in its plain form: {normal.replace('//', '/')}.", code="path_not_normal")
    if len(value) > 255 or not re.fullmatch(r"[A-Za-z0-9._/@+-]+", value):
        raise ValidationError("Use letters, digits and . _ - / only (at most 255 characters).", code="path_characters")
    top = "/" + value.split("/")[1]
    if value in RESERVED_PATHS or (top in RESERVED_PATHS and top not in ("/opt", "/home")):
        raise ValidationError(f"{value} is reserved by the system. Choose a path such as /data/sales.", code="path_reserved")


def overlapping_paths(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of equal paths, or of a path and one below it."""
    ordered = sorted(paths)
    return [(a, b) for i, a in enumerate(ordered) for b in ordered[i + 1 :] if a == b or b.startswith(a.rstrip("/") + "/")]


def _validate_label_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    prefix_ok = not slash or (len(prefix) <= 253 and all(DNS_LABEL.fullmatch(part) for part in prefix.split(".")))
    if not prefix_ok or not LABEL_NAME.fullmatch(name) or len(name) > 63:
        raise ValidationError(f"“{key}” is not a valid label name, such as pool or example.com/pool.", code="label_key")


def validate_node_selector(value: object) -> None:
    """A flat object of label → value: ``{"pool": "gpu"}``."""
    if not isinstance(value, Mapping):
        raise ValidationError('Write an object such as {"pool": "gpu"}.', code="node_selector")
    for key, label in value.items():
        _validate_label_key(str(key))
        if not isinstance(label, str) or len(label) > 63 or (label and not LABEL_NAME.fullmatch(label)):
            raise ValidationError(f"The value of “{key}” must be a label value (text, at most 63).", code="label_value")


def validate_tolerations(value: object) -> None:
    """A list of Kubernetes tolerations, each an object of key, operator, value and effect."""
    if not isinstance(value, list):
        raise ValidationError('Write a list such as [{"key": "gpu", "operator": "Exists"}].', code="tolerations")
    for number, item in enumerate(value, 1):
        if not isinstance(item, Mapping):
            raise ValidationError(f"Toleration {number}: write an object with key, operator, value and effect.", code="toleration")
        if problem := _what_is_wrong_with_toleration(item):
            raise ValidationError(f"Toleration {number}: {problem}", code="toleration")


def _what_is_wrong_with_toleration(item: Mapping[str, object]) -> str:
    key, label, effect, seconds = item.get("key", ""), item.get("value", ""), item.get("effect", ""), item.get("tolerationSeconds")
    operator = item.get("operator", "Equal")
    if not isinstance(key, str) or not isinstance(label, str):
        return "write key and value as text, in quotes."
    if key:
        _validate_label_key(key)
    rules = (
        (
            set(item) - {"key", "operator", "value", "effect", "tolerationSeconds"},
            "use key, operator, value, effect and tolerationSeconds only.",
        ),
        (operator not in ("Equal", "Exists"), "operator is Equal or Exists."),
        (not key and operator != "Exists", "give a key, or the operator Exists."),
        (label and operator == "Exists", "with the operator Exists, leave out the value."),
        (label and (len(label) > 63 or not LABEL_NAME.fullmatch(label)), "the value must be a label value (at most 63 characters)."),
        (effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"), "effect is NoSchedule, PreferNoSchedule or NoExecute."),
        (seconds is not None and type(seconds) is not int, "tolerationSeconds is a whole number."),
        (seconds is not None and effect != "NoExecute", "tolerationSeconds goes with the effect NoExecute."),
    )
    return next((sentence for broken, sentence in rules if broken), "")


def validate_resource_name(value: str) -> None:
    """An extended resource such as nvidia.com/gpu."""
    _validate_label_key(value)
    if "/" not in value:
        raise ValidationError("Write the resource with its domain, such as nvidia.com/gpu.", code="resource_name")


def validate_host_ports(value: str) -> None:
    """One or more ``host:port``, with commas between."""
    for item in value.split(","):
        host, _, port = item.strip().rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) or not (
            re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536
        ):
            raise ValidationError(f"“{item.strip()}” is not host:port, such as slurm.example.com:6817.", code="host_port")


def validate_container_image(value: str) -> None:
    """A container image reference with a tag or a digest: ``registry.example.com/slurm-client:23.11``."""
    if any(character.isspace() for character in value):
        raise ValidationError("Write the reference without spaces.", code="image_reference")
    try:
        reference = Reference.parse_normalized_named(value)
    except InvalidReference as error:
        raise ValidationError(f"This is not an image reference: {error}.", code="image_reference") from None
    if not (reference.get("tag") or reference.get("digest")):
        raise ValidationError("Name a tag or a digest, so that everyone gets the same image.", code="image_tag")


def validate_slurm_user(value: str) -> None:
    """A user of a Slurm cluster that is no administrator of it by its very name."""
    if not SLURM_USER.fullmatch(value):
        raise ValidationError("Write the name that `id -un` prints there: letters, digits and . _ - @ +.", code="slurm_user")
    if value in SLURM_ADMINS:
        raise ValidationError(f"“{value}” administers Slurm: a session of that user could do anything there.", code="slurm_user_admin")
