"""What variants learn: the ring of eight modes, and what a divergence makes of two modes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor, nn

from lightning_gan import FGAN
from lightning_gan.cli import main
from lightning_gan.data import GaussianMixture
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MLPDiscriminator
from lightning_gan.training import GANAdam
from tests.toys import VARIANTS, ToyData, config_of, toy_trainer

MODES = 8
NEAR = 0.2  # a quarter of the way to the next mode; PacGAN's 3 standard deviations are 0.03


def modes_covered(samples: Tensor, within: float) -> int:
    """Count centres that are nearest to at least 1 % of the samples and close to them."""
    centers = GaussianMixture("ring").centers
    distance, nearest = torch.cdist(samples, centers).min(dim=1)
    counts = nearest[distance < within].bincount(minlength=len(centers))
    return int((counts > 0.01 * len(samples)).sum())


def test_the_count_of_modes() -> None:
    centers = GaussianMixture("ring").centers
    assert modes_covered(centers.repeat(100, 1), NEAR) == MODES
    assert modes_covered(centers[:3].repeat(100, 1), NEAR) == 3
    assert modes_covered((centers * 1.3).repeat(100, 1), NEAR) == 0
    rare = torch.cat([centers[:1].repeat(1000, 1), centers[1:2]])
    assert modes_covered(rare, NEAR) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_ring_is_covered(variant: type[AdversarialModule], tmp_path: Path) -> None:
    main(
        [
            "fit",
            f"--config={config_of(variant, 'ring')}",
            f"--trainer.logger.save_dir={tmp_path}",
            "--trainer.logger.name=null",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--trainer.limit_val_batches=0",
        ]
    )
    last = tmp_path / "version_0" / "checkpoints" / "last.ckpt"
    model = AdversarialModule.load_from_checkpoint(last)
    samples = model.sample(2500, generator=torch.Generator().manual_seed(0))
    distance = torch.cdist(samples, GaussianMixture("ring").centers).amin(dim=1)
    near, nearer = ((distance < within).float().mean() for within in (NEAR, 0.03))
    print(variant.__name__, modes_covered(samples, NEAR), "modes", f"{near:.0%} {nearer:.0%} near")
    assert modes_covered(samples, NEAR) == MODES


class _Line(nn.Linear):
    """A generator that can make nothing but a Gaussian, of which it learns mean and deviation."""

    latent_dim = 1

    def __init__(self) -> None:
        super().__init__(1, 1)
        nn.init.ones_(self.weight)
        nn.init.constant_(self.bias, 0.8)


# The Gaussian nearest to 0.7 N(2, 0.7^2) + 0.3 N(-2, 0.7^2): by the forward divergence the one with
# its moments, by the reverse one (found on a grid of means and deviations) its greater mode.
NEAREST = {"kl": (0.8, (0.7**2 + 4 - 0.8**2) ** 0.5), "reverse_kl": (2.0, 0.7)}


@pytest.mark.slow
@pytest.mark.parametrize("divergence", NEAREST)
def test_forward_divergence_covers_and_reverse_seeks(divergence: Any, tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    generator = torch.Generator().manual_seed(0)
    modes = torch.where(torch.rand(50, 512, 1, generator=generator) < 0.7, 2.0, -2.0)
    batches = modes + 0.7 * torch.randn(modes.shape, generator=generator)

    def adam(params: Any) -> GANAdam:
        return GANAdam(params, lr=2e-3)

    model = FGAN(
        _Line(),
        MLPDiscriminator((1,), hidden=(32, 32)),
        divergence=divergence,
        generator_objective="minimax",
        n_critic=2,
        optimizer_g=adam,
        optimizer_d=adam,
        gradient_clip_val_d=1.0,
    )
    toy_trainer(tmp_path, max_steps=1500).fit(model, ToyData(*batches))
    samples = model.sample(5000)
    mean, deviation = NEAREST[divergence]
    assert samples.mean().item() == pytest.approx(mean, abs=0.2)
    assert samples.std().item() == pytest.approx(deviation, abs=0.25)
