"""How much of a mixture of Gaussians a trained model covers.

How to run::

    python -m benchmarks.modes --layout grid runs/*/version_0/checkpoints/last.ckpt
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lightning_gan.data import GaussianMixture
from lightning_gan.gans import AdversarialModule

NUM_SAMPLES = 2500  # as in VEEGAN's and PacGAN's tables


def judge(samples: Tensor, data: GaussianMixture) -> dict[str, float]:
    """Return modes covered, the share of good samples and the reverse KL divergence, in nats.

    A sample is good within 3 standard deviations of the nearest centre; a mode is covered by one
    good sample, and the divergence is that of the good samples' modes from uniform ones.
    """
    distance, nearest = torch.cdist(samples, data.centers).min(dim=1)
    good = nearest[distance < 3 * data.std]
    counts = good.bincount(minlength=len(data.centers)).double()
    shares = counts[counts > 0] / max(float(counts.sum()), 1.0)
    divergence = (shares * (shares * len(counts)).log()).sum() if len(shares) else torch.nan
    return {
        "modes": float((counts > 0).sum()),
        "good": 100 * len(good) / len(samples),
        "kl": float(divergence),
    }


def judge_both(model: AdversarialModule, data: GaussianMixture, seed: int) -> dict[str, object]:
    """Judge the averaged generator, where there is one, and the last one, on the same latents."""
    found: dict[str, object] = {}
    for name in ("average", "last"):
        if name == "last":
            model.ema_generator = None
        samples = model.sample(NUM_SAMPLES, generator=torch.Generator().manual_seed(seed))
        found[name] = judge(samples, data)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--layout", choices=["ring", "grid"], default="ring")
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    arguments = parser.parse_args()
    for path in arguments.checkpoints:
        model = AdversarialModule.load_from_checkpoint(path)
        print(path, judge_both(model, GaussianMixture(arguments.layout), arguments.seed))


if __name__ == "__main__":
    main()
