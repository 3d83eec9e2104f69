"""What all tests share: float64 comparisons, one thread, examples that do not change between runs, site and browser."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Derandomised: a failure seen once is seen by everyone; no deadline, for a busy machine is not a defect.
settings.register_profile("diffnotes", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("diffnotes")
torch.set_num_threads(1)

# No test reads or leaves networks in the checkout's own folder.
_networks = tempfile.TemporaryDirectory(prefix="diffnotes-networks-")
os.environ["DIFFNOTES_NETWORKS"] = _networks.name


@pytest.fixture(scope="module")
def site() -> Path:
    """The site of the book with a chapter made by hand."""
    from sites import built

    return built()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless browser without a network."""
    from browser import Browser

    with Browser() as running:
        yield running
