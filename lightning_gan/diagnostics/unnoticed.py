"""Looking at a model in the middle of its training without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch

from lightning_gan.gans.game import AdversarialGame


@contextmanager
def unnoticed(model: AdversarialGame) -> Iterator[None]:
    """Run networks and losses such that the training goes on as if nothing had been computed.

    Afterwards every buffer, such as running statistics and the vectors of spectral normalisation,
    and torch's generators of random numbers are as they were; nothing is logged, and nothing that
    learns from logits is shown any. Gradients are for the caller to take by
    ``torch.autograd.grad``, which leaves those on the weights alone.

    The networks stay in their modes, which in training makes them what the training sees, with
    batch statistics, dropout and augmentation. They run uncompiled, and in the weights' precision
    even where the training is in mixed precision: small gradients would underflow in that.

    Args:
        model: Any variant.
    """
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    devices = [] if model.device.type == "cpu" else [model.device]
    kind = {"device_type": model.device.type} if devices else {}
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(cast(torch.dtype, model.dtype))  # in which latents are drawn
        with (
            torch.random.fork_rng(devices, **kind),
            model.rehearsal(),
            model.uncompiled(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(model.device.type, enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(default)
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer.copy_(value))
