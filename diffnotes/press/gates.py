"""Gates (first version)."""
from __future__ import annotations

from typing import Any


def check_source(notebook: Any, name: str) -> list:
    return []


def check_page(notebook: Any, source: Any, name: str, project: Any = None) -> list:
    return []


def check_across(pages: dict[str, Any]) -> list:
    return []
