"""Both networks going part of the way back, every few iterations."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_gan.callbacks.models import expect_model
from lightning_gan.gans.base import AdversarialModule


class LookaheadMinimax(Callback):
    r"""Step back towards where both networks were some iterations ago, against rotation.

    .. math:: \bar\omega \leftarrow \bar\omega + \alpha\,(\omega - \bar\omega), \qquad
        \omega \leftarrow \bar\omega, \qquad \omega = (\theta_G, \theta_D)

    after every ``steps`` iterations of the generator, at whole multiples of it. Where training
    circles an equilibrium, a point between two of the circle lies nearer to it. All trained weights
    of the model take part; buffers, such as running statistics, and the optimisers' moments are
    left alone. The weights :math:`\bar\omega` are part of the checkpoint.

    Callbacks work in their order: list this one before those that look at the networks at the end
    of an iteration, such as :class:`~lightning_gan.callbacks.SampleGrid`. Checkpoints come last by
    themselves, and hold the networks after the step back.
    :class:`~lightning_gan.callbacks.GeneratorEMA` averages what the optimiser made, before the step
    back.

    Args:
        steps: Iterations between two steps back.
        alpha: Share of the way that is kept, in (0, 1]; 1 keeps all and changes nothing.

    Raises:
        ValueError: If ``steps`` or ``alpha`` is out of range.

    Reference:
        Chavdarova et al., "Taming GANs with Lookahead-Minmax", ICLR 2021,
        https://arxiv.org/abs/2006.14567, algorithm 1.
    """

    def __init__(self, steps: int = 5, alpha: float = 0.5) -> None:
        if steps < 1:
            raise ValueError(f"Expected 'steps' to be at least 1, got {steps}.")
        if not 0 < alpha <= 1:
            raise ValueError(f"Expected 'alpha' to be in (0, 1], got {alpha}.")
        self.steps = steps
        self.alpha = alpha
        self._slow: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse models that count other steps, and forget those of an earlier run."""
        expect_model(pl_module, AdversarialModule, self)  # type: ignore[type-abstract]
        self._slow = {}

    @torch.no_grad()
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights at the start, or take up those of the checkpoint."""
        weights = _trained(pl_module)
        self._slow = {
            name: self._slow.get(name, weight).to(weight, copy=True)
            for name, weight in weights.items()
        }

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Step back where it is time to."""
        if trainer.global_step % self.steps == 0:
            for name, fast in _trained(pl_module).items():
                fast.copy_(self._slow[name].lerp_(fast, self.alpha))

    def state_dict(self) -> dict[str, Any]:
        """Return the weights to go back to, which the checkpoint keeps."""
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the weights of a checkpoint."""
        self._slow = state_dict["slow"]


def _trained(model: LightningModule) -> dict[str, Tensor]:
    """Return the weights of both networks by name, without averages of them."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
