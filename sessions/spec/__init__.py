"""What a session may be made of: inputs, choices, checks, and the resolved snapshot that runs.

The wizard, the API and the admin's preview all ask here, so what one accepts or refuses, the others do.
"""

from sessions.spec.check import Checked, QuotaLine, check
from sessions.spec.choices import Choices, choices, defaults, suggest_name
from sessions.spec.inputs import DataVolumeInput, EnvInput, HomeInput, SpecInput
from sessions.spec.resolve import load_parts, pending_changes, resolve

__all__ = [
    "Checked",
    "Choices",
    "DataVolumeInput",
    "EnvInput",
    "HomeInput",
    "QuotaLine",
    "SpecInput",
    "check",
    "choices",
    "defaults",
    "load_parts",
    "pending_changes",
    "resolve",
    "suggest_name",
]
