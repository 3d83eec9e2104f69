"""One progress bar for every long loop, silent where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def progress(steps: Iterable, label: str) -> Iterable:
    """Iterate over ``steps`` with a bar on stderr, if that is a terminal or a notebook and TQDM_DISABLE is not set."""
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not watched or os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return steps
    from tqdm import tqdm

    return tqdm(steps, desc=label, leave=False)
