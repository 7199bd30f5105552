"""Our figures beside closed forms, and beside the mean of draws where that is what is known.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation_oracles --threads 1

A mean over draws may be off by three standard errors. Where there is one draw, ours or another's,
no bound is set.
"""

import argparse
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.evaluation_parity import BALLS, Row, absolute, relative, table
from lightning_gan.functional import (
    Moments,
    frechet_distance,
    frechet_distance_floor,
    frechet_distance_from_moments,
    inception_score,
    kernel_distance,
    precision_recall_density_coverage,
)
from lightning_gan.functional.modes import expected_coverage

DRAWS = 25


def distances() -> Iterator[Row]:
    """Compare the distances and the score."""
    eye, zero = torch.eye(3).double(), torch.zeros(3).double()
    shifted = torch.tensor([1.0, 2.0, 2.0]).double()
    found = frechet_distance_from_moments(zero, eye, shifted, 4 * eye)
    yield relative("FID of N(0, I) and N((1, 2, 2), 4 I)", found.item(), "closed form", 12.0, 1e-12)
    a, b = torch.tensor([0.5, 1.0, 3.0]).double(), torch.tensor([2.0, 0.1, 1.0]).double()
    found = frechet_distance_from_moments(zero, a.square().diag(), shifted, b.square().diag())
    expected = 9.0 + (a - b).square().sum().item()
    yield relative("FID, diagonal covariances", found.item(), "closed form", expected, 1e-12)
    apart = torch.tensor([[1.0, 0.0], [0.0, 9.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    found = frechet_distance_from_moments(zero[:2], apart[0], zero[:2], apart[1])
    expected = 14 - 2 * math.sqrt(20 + 2 * math.sqrt(27))
    name = "FID, diag(1, 9) and [[2, 1], [1, 2]]"
    yield relative(name, found.item(), "closed form", expected, 1e-12)
    for d, count in ((16, 1000), (64, 2000), (64, 5000)):
        unit = Moments(10**6, torch.zeros(d).double(), torch.eye(d).double())
        floor = frechet_distance_floor(unit, count, count).item()
        name = f"its floor, d = {d}, N = {count}"
        expected = 2 * d / count + d * (d + 1) / (2 * (count - 1))
        yield relative(name, floor, "closed form", expected, 1e-12)
        drawn = [frechet_distance(*_normal(count, d, seed)).item() for seed in range(DRAWS)]
        yield absolute(name, floor, f"mean of {DRAWS} draws", float(np.mean(drawn)), _chance(drawn))
    drawn = [kernel_distance(*_normal(500, 16, seed)).item() for seed in range(DRAWS)]
    mean = float(np.mean(drawn))
    yield absolute("KID of one distribution", mean, "expectation", 0.0, _chance(drawn))
    sure = 100 * torch.eye(10).repeat(10, 1)
    for title, logits, expected in (("10 sure", sure, 10.0), ("one", sure[::10], 1.0)):
        score = inception_score(logits, 5)[0].item()
        yield relative(f"Inception Score, {title}", score, "closed form", expected, 1e-12)


def balls() -> Iterator[Row]:
    """Compare precision, recall, density and coverage with what is expected."""
    for n, m, k in ((500, 500, 5), (10_000, 10_000, 3), (500, 250, 5)):
        name = f"expected coverage, N = {n}, M = {m}, k = {k}"
        factors = [(n - i) / (m + n - i) for i in range(1, k + 1)]
        expected = 1 - math.prod(factors)
        yield relative(name, expected_coverage(n, m, k), "closed form", expected, 1e-12)
    for d in (2, 16):
        sets = [_normal(500, d, seed) for seed in range(DRAWS)]
        drawn = [precision_recall_density_coverage(*pair, 5) for pair in sets]
        for name, expected in (("density", 1.0), ("coverage", expected_coverage(500, 500))):
            values = [getattr(scores, name).item() for scores in drawn]
            title = f"{name} of one distribution, d = {d}, N = 500"
            mean = float(np.mean(values))
            yield absolute(title, mean, "expectation", expected, _chance(values))
    x, y = _normal(60, 8, 0)
    same, disjoint = (precision_recall_density_coverage(x, z, 5) for z in (x, y + 100))
    for name, expected in zip(BALLS, (1, 1, 1.2, 1), strict=True):
        title = f"{name} of the real samples themselves"
        yield absolute(title, getattr(same, name).item(), "closed form", expected, 1e-15)
        title = f"{name} of samples elsewhere"
        yield absolute(title, getattr(disjoint, name).item(), "closed form", 0.0, 0.0)


def published_draw() -> Iterator[Row]:
    """Compare with a draw of the authors of density and coverage, of other random numbers."""
    published = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
    scores = precision_recall_density_coverage(*_normal(10_000, 1000, 0), 5)
    for name, theirs in published.items():
        title = f"{name} of one distribution, d = 1000, N = 10,000, k = 5"
        yield absolute(title, getattr(scores, name).item(), "prdc's README", theirs, None)


def half_of_the_modes() -> Iterator[Row]:
    """Compare samples of two of four modes, far apart, with equally many of all four.

    In each of the two it is as with one mode and twice as many generated samples as real ones.
    """
    count = 2000
    modes = torch.arange(count)
    x, y = _normal(count, 8, 0)
    x[:, 0] += 100 * (modes % 4)
    y[:, 0] += 100 * (modes % 2)
    found = precision_recall_density_coverage(x, y, 5)
    x, y = _normal(count // 2, 8, 1)
    one = precision_recall_density_coverage(x[: count // 4], y, 5)
    shares = one.precision.item(), one.recall.item() / 2
    for name, expected in zip(BALLS[:2], shares, strict=True):
        title = f"{name}, 2 of 4 modes"
        yield absolute(title, getattr(found, name).item(), "one mode alone", expected, None)
    yield absolute("density, 2 of 4 modes", found.density.item(), "expectation", 1.0, None)
    covered = 0.5 * (1 - (1 / 3) ** 5)
    yield absolute("coverage, 2 of 4 modes", found.coverage.item(), "expectation", covered, None)


def _chance(values: list[float]) -> float:
    """Return three standard errors of the mean."""
    return 3 * float(np.std(values)) / math.sqrt(len(values))


def _normal(count: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, d, generator=generator),
        torch.randn(count, d, generator=generator),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, help="torch's own choice by default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(table([*distances(), *balls(), *half_of_the_modes(), *published_draw()]))


if __name__ == "__main__":
    main()
