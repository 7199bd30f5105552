"""Each variant learns the ring of eight modes with its committed configuration."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_gan.cli import main
from lightning_gan.data import GaussianMixture
from lightning_gan.gans import AdversarialModule
from tests.toys import VARIANTS, config_of

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
    assert modes_covered(samples, NEAR) == MODES
