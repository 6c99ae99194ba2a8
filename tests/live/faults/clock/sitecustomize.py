"""Python imports this at the start of every program of the stack, because its folder is on their PYTHONPATH: their clock
is then as many seconds off as the file ``SLIPWAY_TEST_CLOCK`` says, whenever it says so. The machine's clock stays."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from django.utils import timezone

_real = timezone.now
_file = Path(os.environ["SLIPWAY_TEST_CLOCK"])


def _now() -> datetime:
    return _real() + timedelta(seconds=float(_file.read_text()))


timezone.now = _now
