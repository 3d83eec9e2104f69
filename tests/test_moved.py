"""Modules of version 0.1 as others use them: stars, pickles, lists of names."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest


@pytest.mark.parametrize("old, some", [
    ("schedule", {"Linear", "Chain"}), ("train", {"fit", "WEIGHTINGS", "matched"}), ("lipschitz", {"share_timesteps"}),
])  # fmt: skip
def test_a_star_brings_all_names_of_now(old, some):
    found: dict[str, object] = {}
    exec(f"from diffnotes.{old} import *", found)
    assert some <= found.keys()
    exec(f"import diffnotes.{old} as module; listed = dir(module)", found)
    assert some <= set(found["listed"])


def test_pickles_of_then_are_read():
    import diffnotes

    assert pickle.loads(b"cdiffnotes.schedule\nLinear\n.") is diffnotes.Linear


def test_a_name_asks_for_no_module_beyond_its_own():
    code = ("import sys, diffnotes; from diffnotes.collapse import ansd; "
            "print([name for name in sys.modules if name.startswith('diffnotes.chapters.')])")  # fmt: skip
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
