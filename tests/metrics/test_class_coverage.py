import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_gan.extractors import ModuleExtractor, Points
from lightning_gan.metrics import ClassCoverage, GenerationMetrics
from tests.metrics.stubs import Counting, images
from tests.ranks import Ranks
from tests.training.test_distributed import join

CENTERS = torch.arange(6.0)[:, None]
SHARES = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])


def drawn(n: int = 100) -> Tensor:
    """Draw points around four of six centres, unequally often."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([4.0, 3.0, 0.0, 2.0, 1.0, 0.0])
    classes = weights.multinomial(n, replacement=True, generator=generator)
    return CENTERS[classes] + 0.05 * torch.randn(n, 1, generator=generator)


def by_hand(points: Tensor, shares: Tensor | None) -> tuple[int, float]:
    counts = np.zeros(6)
    for point in points[:, 0].tolist():
        counts[round(point)] += 1
    kl = 0.0
    for c, count in enumerate(counts):
        q, p = count / len(points), 1 / 6 if shares is None else shares[c].item()
        kl += q * math.log(q / p) if q else 0.0
    return int((counts > 0).sum()), kl


@pytest.mark.parametrize("shares", [None, SHARES])
def test_classes_and_their_divergence(shares: Tensor | None) -> None:
    coverage = ClassCoverage(Points(CENTERS), shares)
    for batch in drawn().split(30):
        coverage.update(batch)
    values = coverage.compute()
    modes, kl = by_hand(drawn(), shares)
    assert values["modes"] == modes == 4
    assert values["mode_kl"].item() == pytest.approx(kl, rel=1e-6)


def test_figures_are_those_of_the_whole_comparison() -> None:
    coverage, whole = ClassCoverage(Counting()), GenerationMetrics(Counting(), ["modes"])
    coverage.update(images(50))
    whole.update(images(50), real=False)
    assert coverage.compute() == whole.compute()


def test_it_is_a_metric() -> None:
    coverage = ClassCoverage(Points(CENTERS))
    of_batches = [coverage(batch) for batch in drawn().split(30)]
    assert of_batches[0]["mode_kl"].item() == pytest.approx(by_hand(drawn()[:30], None)[1])
    values = coverage.compute()
    assert values["mode_kl"].item() == pytest.approx(by_hand(drawn(), None)[1])
    copies = [coverage.clone(), pickle.loads(pickle.dumps(coverage)), coverage.to(torch.bfloat16)]
    assert all(copy.compute() == values for copy in copies)
    coverage.reset()
    coverage.update(drawn()[:1])
    assert coverage.compute()["modes"] == 1
    assert not list(coverage.state_dict())
    assert not list(coverage.parameters())


def test_many_classes_take_one_count_each() -> None:
    coverage = ClassCoverage(Points(torch.arange(1000.0)[:, None]))
    for batch in torch.arange(2000.0).remainder(900)[:, None].split(500):
        coverage.update(batch)
    assert coverage.counts.shape == (1000,)
    assert coverage.compute()["modes"] == 900


def _count_half(rank: int) -> dict[str, Tensor]:
    join()
    coverage = ClassCoverage(Points(CENTERS))
    coverage.update(drawn()[:77] if rank == 0 else drawn()[77:])
    values: dict[str, Tensor] = coverage.compute()
    return values


def test_two_processes_count_together(ranks: Ranks) -> None:
    alone = ClassCoverage(Points(CENTERS))
    alone.update(drawn())
    assert ranks.run(_count_half) == [alone.compute()] * 2


@pytest.mark.parametrize("extractor", ["points", nn.Flatten()])
def test_it_takes_a_classifier(extractor: Any) -> None:
    with pytest.raises(ValueError, match=r"classifier of the data's classes, got '(points|Flat)"):
        ClassCoverage(extractor)


def test_what_cannot_be_counted_is_refused() -> None:
    coverage = ClassCoverage(Points(CENTERS), SHARES[:5])
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(ValueError, match="some class before 'compute', got none"),
    ):
        coverage.compute()
    coverage.update(drawn())
    with pytest.raises(ValueError, match=r"'real_shares' to have shape \(6,\), got \(5,\)"):
        coverage.compute()
    with pytest.raises(ValueError, match="finite samples, got NaN or infinity in 1 of 2"):
        coverage.update(torch.tensor([[0.0], [math.inf]]))
    flat = ModuleExtractor(nn.Flatten(), "flat", num_classes=2)
    with pytest.raises(ValueError, match=r"logits \(N, 2\), got none"):
        ClassCoverage(flat).update(images(2))


def test_points_without_a_class_do_not_count() -> None:
    coverage = ClassCoverage(Points([[0.0], [5.0]], std=0.1))
    coverage.update(torch.tensor([[0.1], [2.0], [5.2], [5.4]]))
    assert coverage.counts.tolist() == [1, 1]
