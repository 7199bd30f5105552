"""In what precision figures are computed."""

import torch


def widest(device: torch.device) -> torch.dtype:
    """Return the type of the most digits on a device: float64, but on Apple's GPUs, float32.

    Example:
        >>> widest(torch.device("cpu"))
        torch.float64
    """
    return torch.float32 if device.type == "mps" else torch.float64
