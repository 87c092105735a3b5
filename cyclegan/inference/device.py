"""Where a command that starts no workers computes."""

import torch


def best_device() -> torch.device:
    """The first CUDA device of this machine, or else its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
