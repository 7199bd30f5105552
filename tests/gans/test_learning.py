"""Each variant learns the ring of eight modes, or says that it does not."""

from pathlib import Path

import pytest
import torch
from lightning import seed_everything
from torch import Tensor

from lightning_gan import WGANGP
from lightning_gan.callbacks import GeneratorEMA
from lightning_gan.data import GaussianMixture
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from tests.toys import toy_trainer


def modes_covered(samples: Tensor, data: GaussianMixture, within: float) -> int:
    """Count centres that are nearest to at least 1 % of the samples and close to them."""
    distance, nearest = torch.cdist(samples, data.centers).min(dim=1)
    counts = nearest[distance < within].bincount(minlength=len(data.centers))
    return int((counts > 0.01 * len(samples)).sum())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wgan_gp_covers_the_ring(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    data = GaussianMixture("ring", batch_size=256)
    model = WGANGP(
        MLPGenerator(hidden=(128, 128, 128)),
        MLPDiscriminator(hidden=(128, 128, 128)),
        gp_weight=0.1,
    )
    trainer = toy_trainer(
        tmp_path, max_steps=3000, limit_val_batches=0, callbacks=[GeneratorEMA(0.995)]
    )
    trainer.fit(model, data)
    assert modes_covered(model.sample(2500), data, within=0.2) == 8
