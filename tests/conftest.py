"""Settings shared by all tests: float64 comparisons, one thread, and examples that do not change between runs."""

import os
import tempfile

import torch
from hypothesis import settings

# Derandomised: a failure seen once is seen by everyone; no deadline, for a busy machine is not a defect.
settings.register_profile("diffnotes", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("diffnotes")
torch.set_num_threads(1)

# No test reads or leaves networks in the checkout's own folder.
_networks = tempfile.TemporaryDirectory(prefix="diffnotes-networks-")
os.environ["DIFFNOTES_NETWORKS"] = _networks.name
