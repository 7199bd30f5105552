"""The running average of the generator's weights."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightning_gan.gans.generative import GenerativeModule


class GeneratorEMA(Callback):
    r"""Keep an exponential moving average of the generator, from which samples are drawn.

    .. math:: \bar\theta \leftarrow \beta\,\bar\theta + (1 - \beta)\,\theta

    after each update of the generator, however many updates the discriminator makes between two of
    them; a step that an overflow skips does not count. Buffers, such as running statistics, are
    copied. The average is part of the checkpoint.

    Args:
        decay: :math:`\beta` in [0, 1). The half-life is :math:`\ln 2 / (1 - \beta)` updates:
            693 for 0.999.
        start: Number of generator updates before averaging begins; until then it is a copy.

    Raises:
        ValueError: If ``decay`` or ``start`` is out of range; at the start of the training, if the
            weights are in half precision.

    Reference:
        Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019,
        https://arxiv.org/abs/1806.04498, eq. (2).
    """

    def __init__(self, decay: float = 0.999, start: int = 0) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"Expected 'decay' in [0, 1), got {decay}.")
        if start < 0:
            raise ValueError(f"Expected 'start' to be non-negative, got {start}.")
        self.decay = decay
        self.start = start

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the model room for the average before its checkpoint is loaded."""
        if not isinstance(pl_module, GenerativeModule):
            raise TypeError(
                "Expected GeneratorEMA to run with a model of lightning_gan, got "
                f"{type(pl_module).__name__}."
            )
        if stage == "fit":
            pl_module.attach_ema()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the generator's optimiser."""
        if not isinstance(pl_module, GenerativeModule):
            return
        source, average = pl_module.generator, pl_module.attach_ema()
        rounded = [p.dtype for p in average.parameters() if p.dtype in (torch.half, torch.bfloat16)]
        if rounded and self.decay > 0:
            raise ValueError(
                f"Expected weights in float32 under GeneratorEMA(decay={self.decay}), got "
                f"{rounded[0]}, in which its small steps would round to nothing. "
                "Use precision='bf16-mixed', or decay=0."
            )
        move = get_ema_multi_avg_fn(self.decay)
        copy = get_ema_multi_avg_fn(0.0)

        # A hook on the optimiser sees exactly the steps that were taken, before any other callback.
        @torch.no_grad()
        def update(*_: Any) -> None:
            taken = trainer.global_step  # the current step is counted once it is over
            weights = list(average.parameters()), list(source.parameters())
            (copy if taken < self.start else move)(*weights, taken)
            for old, new in zip(average.buffers(), source.buffers(), strict=True):
                old.copy_(new)

        self._handle = trainer.optimizers[0].register_step_post_hook(update)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimiser as it was."""
        self._handle.remove()
