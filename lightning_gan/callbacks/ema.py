"""The running average of the generator's weights."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lightning_gan.callbacks.models import expect_model
from lightning_gan.gans.generative import GenerativeModule
from lightning_gan.training.schedules import Schedule, check_range, value_at


class GeneratorEMA(Callback):
    r"""Keep an exponential moving average of the generator, from which samples are drawn.

    .. math:: \bar\theta \leftarrow \beta\,\bar\theta + (1 - \beta)\,\theta

    after each update of the generator, however many updates the discriminator makes between two of
    them; a step that an overflow skips does not count, nor does a step to look ahead. The average
    is part of the checkpoint.

    Buffers, such as the running statistics of batch normalisation, are copied: averaged ones sample
    far worse. Those of other weights they are all the same, which shows while the weights move fast
    beside the average's half-life; the model's ``standing_statistics`` measures the average's own,
    as does ``lightning-gan sample --standing_statistics``.

    Args:
        decay: :math:`\beta` in [0, 1). The half-life is :math:`\ln 2 / (1 - \beta)` updates:
            693 for 0.999.
        start: Number of generator updates before averaging begins; until then it is a copy.
        half_life: Real images h after which a weight counts half, or their schedule, in place of
            ``decay``: :math:`\beta = 2^{-n/h}` for an iteration of n images. It stays right when
            the batch size or the number of processes changes; 0 copies.

    Raises:
        ValueError: If ``decay``, ``start`` or ``half_life`` is out of range; at the start of the
            training, if the weights are in half precision.

    Reference:
        Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training", ICLR 2019,
        https://arxiv.org/abs/1806.04498, eq. (2); Karras et al., "Progressive Growing of GANs",
        ICLR 2018, https://arxiv.org/abs/1710.10196, section 6; Karras et al., "Training Generative
        Adversarial Networks with Limited Data", NeurIPS 2020, https://arxiv.org/abs/2006.06676
        (half-life in images, in the authors' code).
    """

    def __init__(
        self,
        decay: float = 0.999,
        start: int = 0,
        half_life: float | Schedule | None = None,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"Expected 'decay' in [0, 1), got {decay}.")
        if start < 0:
            raise ValueError(f"Expected 'start' to be non-negative, got {start}.")
        if half_life is not None:
            check_range("half_life", half_life)
        self.decay = decay
        self.start = start
        self.half_life = half_life

    def decay_at(self, images: int, images_this_step: int) -> float:
        """Return the decay of an iteration.

        Args:
            images: Real images seen before it, over all processes.
            images_this_step: Real images of the iteration.
        """
        if self.half_life is None:
            return self.decay
        half_life = value_at(self.half_life, images)
        return 0.5 ** (images_this_step / half_life) if half_life > 0 else 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the model room for the average before its checkpoint is loaded."""
        model = expect_model(pl_module, GenerativeModule, self)
        if stage == "fit":
            model.attach_ema()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the generator's optimiser."""
        if not isinstance(pl_module, GenerativeModule):
            return
        source, average = pl_module.generator, pl_module.attach_ema()
        rounded = [p.dtype for p in average.parameters() if p.dtype in (torch.half, torch.bfloat16)]
        if rounded and (self.decay > 0 if self.half_life is None else self.half_life != 0):
            raise ValueError(
                f"Expected weights in float32 under GeneratorEMA(decay={self.decay}), got "
                f"{rounded[0]}, in which its small steps would round to nothing. "
                "Use precision='bf16-mixed', or decay=0."
            )

        # A hook on the optimiser sees exactly the steps that were taken, before any other callback.
        @torch.no_grad()
        def update(*_: Any) -> None:
            if pl_module.looking_ahead:
                return
            taken = trainer.global_step  # the current step is counted once it is over
            decay = self.decay_at(pl_module.images_seen, pl_module.images_this_step)
            move = get_ema_multi_avg_fn(0.0 if taken < self.start else decay)
            move(list(average.parameters()), list(source.parameters()), taken)
            for old, new in zip(average.buffers(), source.buffers(), strict=True):
                old.copy_(new)

        self._handle = trainer.optimizers[0].register_step_post_hook(update)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimiser as it was."""
        self._handle.remove()
