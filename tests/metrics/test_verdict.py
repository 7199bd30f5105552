import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_gan.functional import (
    memorization,
    nearest_distances,
    neighborhood,
    overlap,
    repetition,
)
from lightning_gan.metrics.levels import Levels, calibrate
from lightning_gan.metrics.verdict import SEVERE, VERDICTS, Evidence, Verdict, judge


class Mixture:
    """Normal modes, each around a flat of its own, and what a generator may make of them."""

    def __init__(
        self,
        num_modes: int = 10,
        dim: int = 64,
        intrinsic: int = 14,
        thickness: float = 0.1,
        apart: float = 3.0,
        seed: int = 0,
    ) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.num_modes, self.thickness = num_modes, thickness
        self.centres = apart * self.noise(num_modes, dim)
        self.flats = torch.linalg.qr(self.noise(num_modes, dim, intrinsic))[0]

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def draw(self, n: int, *weights: float, scale: float = 1.0) -> Tensor:
        """Draw n samples, from all modes or with weights of the first ones."""
        shares = torch.tensor(weights or [1.0] * self.num_modes, dtype=torch.float32)
        modes = torch.multinomial(shares, n, replacement=True, generator=self.random)
        return self.of(modes, scale)

    def of(self, modes: Tensor, scale: float = 1.0) -> Tensor:
        within = self.noise(len(modes), 1, self.flats.shape[2]) @ self.flats[modes].mT
        around = self.thickness * self.noise(len(modes), self.centres.shape[1])
        samples: Tensor = self.centres[modes] + scale * (within[:, 0] + around)
        return samples

    def jitter(self, samples: Tensor, std: float) -> Tensor:
        return samples + std * self.noise(*samples.shape)

    def repeat(self, samples: Tensor, n: int) -> Tensor:
        return samples[torch.randint(len(samples), (n,), generator=self.random)]

    def between(self, n: int) -> Tensor:
        """Return points halfway between two samples of different modes."""
        first = torch.randint(self.num_modes, (n,), generator=self.random)
        step = torch.randint(1, self.num_modes, (n,), generator=self.random)
        return (self.of(first) + self.of((first + step) % self.num_modes)) / 2


Failure = Callable[[Mixture, Tensor, int], Tensor]


def outliers(mixture: Mixture, real: Tensor, n: int) -> Tensor:
    far = neighborhood(real).radii[:, 0].topk(5).indices
    return mixture.repeat(real[far], n)


# What a generator makes of a mixture and the n real samples that were drawn from it, and its name.
FAILURES: dict[str, tuple[Failure, str]] = {
    "identical": (lambda m, real, n: m.draw(n), "healthy"),
    "half of the modes": (lambda m, real, n: m.draw(n, *[1] * (m.num_modes // 2)), "mode dropping"),
    "1 mode": (lambda m, real, n: m.draw(n, 1), "mode dropping"),
    "3 modes, jitter": (lambda m, real, n: m.jitter(m.draw(n, 1, 1, 1), 0.15), "mode dropping"),
    "1 mode too often": (lambda m, real, n: m.draw(n, 91, *[1] * (m.num_modes - 1)), "imbalance"),
    "modes shrunk to 0.5": (lambda m, real, n: m.draw(n, scale=0.5), "within-mode collapse"),
    "modes shrunk to 0.2": (lambda m, real, n: m.draw(n, scale=0.2), "within-mode collapse"),
    "100 samples repeated": (lambda m, real, n: m.repeat(m.draw(100), n), "within-mode collapse"),
    "1 real sample repeated": (lambda m, real, n: m.repeat(real[:1], n), "within-mode collapse"),
    "5 real outliers repeated": (outliers, "within-mode collapse"),
    "1 sample off the data": (lambda m, real, n: m.repeat(m.between(1), n), "manifold collapse"),
    "between the modes": (lambda m, real, n: m.between(n), "manifold collapse"),
    "jitter 0.15": (lambda m, real, n: m.jitter(m.draw(n), 0.15), "garbage"),
    "jitter 0.5": (lambda m, real, n: m.jitter(m.draw(n), 0.5), "garbage"),
    "modes widened to 1.5": (lambda m, real, n: m.draw(n, scale=1.5), "garbage"),
    "copies": (lambda m, real, n: m.repeat(real, n), "memorisation"),
    "copies, jitter 0.02": (lambda m, real, n: m.jitter(real[:n], 0.02), "memorisation"),
}


class Comparison:
    """Real samples, and what samples beside them show."""

    def __init__(self, real: Tensor, held_out: Tensor) -> None:
        self.real = real
        self.near = neighborhood(real)
        self.levels = calibrate(real)
        self.held_out = nearest_distances(held_out, real)

    def evidence(self, fake: Tensor) -> Evidence:
        found = overlap(self.real, self.near, fake)
        alike = repetition(self.near.radii[:, 0], found.fake_radii)
        copied = memorization(found.nearest, self.held_out)
        return Evidence(
            found.precision.item(),
            found.recall.item(),
            found.density.item(),
            found.coverage.item(),
            alike.spread.item(),
            copies=copied.copies.item(),
            memorization=copied.score.item(),
            repeats=alike.repeats.item(),
            num_real=len(self.real),
            num_fake=len(fake),
        )

    def judge(self, fake: Tensor) -> Verdict:
        return judge(self.evidence(fake), self.levels)


N = 1000
ALSO = {
    "3 modes, jitter": ("garbage",),
    "1 real sample repeated": ("mode dropping", "memorisation"),
    "5 real outliers repeated": ("mode dropping", "memorisation"),
    "1 sample off the data": ("within-mode collapse",),
}


def compare(mixture: Mixture, n: int) -> Comparison:
    return Comparison(mixture.draw(n), mixture.draw(max(n // 4, 50)))


@pytest.fixture(scope="module")
def setting() -> tuple[Mixture, Comparison]:
    mixture = Mixture()
    return mixture, compare(mixture, N)


@pytest.fixture
def mixture(setting: tuple[Mixture, Comparison]) -> Mixture:
    setting[0].random.manual_seed(1)  # whatever tests ran before
    return setting[0]


@pytest.fixture
def comparison(setting: tuple[Mixture, Comparison]) -> Comparison:
    return setting[1]


@pytest.mark.parametrize("case", FAILURES)
def test_each_failure_gets_its_name(mixture: Mixture, comparison: Comparison, case: str) -> None:
    make, name = FAILURES[case]
    verdict = comparison.judge(make(mixture, comparison.real, N))
    assert (verdict.name, verdict.also) == (name, ALSO.get(case, ()))
    part = "" if name == "healthy" or verdict.severity >= SEVERE else ", in part"
    assert verdict.sentence.startswith(f"{name}{part}: ")
    assert name in VERDICTS


@pytest.mark.parametrize(
    ("share", "name"), [(0.1, "healthy"), (0.4, "memorisation"), (0.9, "memorisation")]
)
def test_some_copies(mixture: Mixture, comparison: Comparison, share: float, name: str) -> None:
    copies = comparison.real[: round(share * N)]
    fake = torch.cat([copies, mixture.draw(N - len(copies))])
    assert comparison.judge(fake).name == name


@pytest.mark.parametrize("kept", [7, 8])
def test_few_modes_missing(mixture: Mixture, comparison: Comparison, kept: int) -> None:
    verdict = comparison.judge(mixture.draw(N, *[1] * kept))
    assert verdict.name == "mode dropping"
    missing = re.findall(r"About (\d+) % of the data", verdict.sentence)[0]
    assert int(missing) == pytest.approx(100 - 10 * kept, abs=5)


def test_some_samples_repeated(mixture: Mixture, comparison: Comparison) -> None:
    fake = mixture.draw(N)
    fake[: 3 * N // 10] = comparison.real[0]
    verdict = comparison.judge(fake)
    assert verdict.name == "within-mode collapse"
    assert "30 % of the samples repeat each other." in verdict.sentence


@pytest.mark.parametrize("n", [100, 250])
def test_fewer_samples_than_real_ones(mixture: Mixture, comparison: Comparison, n: int) -> None:
    assert comparison.judge(mixture.draw(n)).name == "healthy"
    assert comparison.judge(mixture.draw(n, *[1] * 5)).name == "mode dropping"
    assert comparison.judge(mixture.draw(n, scale=0.5)).name == "within-mode collapse"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"dim": 2, "intrinsic": 2, "thickness": 0.0, "apart": 20.0},
        {"num_modes": 1, "intrinsic": 64},
        {"num_modes": 50, "dim": 16, "intrinsic": 6},
    ],
)
def test_no_false_alarm(kind: dict[str, float], seed: int) -> None:
    mixture = Mixture(**kind, seed=seed)  # type: ignore[arg-type]
    assert compare(mixture, 200).judge(mixture.draw(200)).name == "healthy"


def test_narrow_modes_in_the_plane() -> None:
    mixture = Mixture(num_modes=8, dim=2, intrinsic=2, thickness=0.0, apart=20.0)
    comparison = compare(mixture, 500)
    assert comparison.judge(mixture.draw(500, scale=0.3)).name == "within-mode collapse"
    assert comparison.judge(mixture.draw(500, 1, 1, 1)).name == "mode dropping"


# Precision, recall, density and coverage of ``evaluation-notes.md``, N = 3000, d = 64, k = 5.
LEVELS = Levels(1500, 0.897, 0.893, 1.06, 0.974, 0.01, 0.01, 0.03, 0.004, 0.0, -0.08)
MEASURED = {
    "identical": (0.897, 0.893, 1.06, 0.974, "healthy"),
    "5 of 10 modes": (0.905, 0.434, 1.08, 0.493, "mode dropping"),
    "1 of 10": (0.895, 0.076, 1.03, 0.086, "mode dropping"),
    "91%:1%x9": (0.899, 0.912, 1.00, 0.444, "imbalance"),
    "x0.5": (1.0, 0.041, 6.2, 0.984, "within-mode collapse"),
    "x0.2": (1.0, 0.000, 11.8, 0.742, "within-mode collapse"),
    "100 images repeated": (0.861, 0.000, 0.90, 0.147, "within-mode collapse"),
    "1 on-manifold image": (1.0, 0.000, 1.0, 0.002, "within-mode collapse"),
    "1 off-manifold image": (0.0, 0.0, 0.0, 0.0, "manifold collapse"),
    "off-manifold jitter .15": (0.835, 0.927, 0.74, 0.93, "garbage"),
    "off-manifold jitter .5": (0.059, 1.0, 0.013, 0.06, "garbage"),
    "3 modes + jitter": (0.843, 0.272, 0.73, 0.291, "mode dropping"),
    "too wide x1.5": (0.291, 1.0, 0.12, 0.41, "garbage"),
}


@pytest.mark.parametrize("case", MEASURED)
def test_figures_that_were_measured_elsewhere(case: str) -> None:
    precision, recall, density, coverage, name = MEASURED[case]
    spread = 0.0 if "image" in case else math.nan
    found = Evidence(precision, recall, density, coverage, spread, num_real=3000, num_fake=3000)
    assert judge(found, LEVELS).name == name


GOOD = Evidence(0.9, 0.89, 1.05, 0.97, spread=1.0, num_real=3000, num_fake=3000)


def test_sentence_of_missing_modes() -> None:
    found = GOOD._replace(precision=0.91, recall=0.43, density=1.08, coverage=0.49)
    verdict = judge(found, LEVELS)
    assert (verdict.name, verdict.also) == ("mode dropping", ())
    assert verdict.sentence == (
        "mode dropping: recall 0.43 and coverage 0.49, where two parts of the real data reach 0.89 "
        "and 0.97; precision 0.91 and density 1.08 are like those of real data. About 51 % of the "
        "data has no sample near it."
    )
    assert verdict.severity == pytest.approx(0.51, abs=0.005)


def test_sentence_of_two_failures() -> None:
    found = GOOD._replace(precision=0.7, recall=0.27, density=0.6, coverage=0.29)
    assert judge(found, LEVELS).sentence.endswith(" has no sample near it. Also garbage.")


def test_a_failure_of_few_samples_is_partial() -> None:
    found = judge(GOOD._replace(precision=0.75, density=0.7), LEVELS)
    assert found.sentence.startswith("garbage, in part: precision 0.75 and density 0.70, where")
    assert found.severity == pytest.approx(1 - 0.7 / 1.06)
    assert judge(GOOD, LEVELS).severity == 0.0
    assert judge(GOOD._replace(precision=0.0, density=0.0), LEVELS).severity == 1.0


def test_sentence_of_healthy_samples() -> None:
    assert judge(GOOD, LEVELS).sentence == (
        "healthy: precision 0.90, recall 0.89, density 1.05 and coverage 0.97, where two parts of "
        "the real data reach 0.90, 0.89, 1.06 and 0.97."
    )


def test_sentence_of_copies() -> None:
    assert judge(GOOD._replace(copies=0.98, memorization=0.99), LEVELS).sentence.endswith(
        " are like those of real data. But 98 % of the samples are nearer to the training set than "
        "99 % of held-out ones; the chance to be nearer is 0.99 instead of 0.50."
    )


@pytest.mark.parametrize(
    ("modes", "divergence", "num_classes", "num_fake", "name"),
    [
        (9, 0.105, 10, 3000, "mode dropping"),
        (9, 0.01, 10, 3000, "healthy"),  # a class that is rare anyway
        (9, 0.105, None, 3000, "imbalance"),
        (10, 0.3, 10, 3000, "imbalance"),
        (10, math.inf, 10, 3000, "healthy"),
        (950, 0.16, 1000, 3000, "healthy"),  # 999 / 6000 on average
    ],
)
def test_classes(
    modes: int, divergence: float, num_classes: int | None, num_fake: int, name: str
) -> None:
    found = GOOD._replace(modes=modes, mode_kl=divergence, num_classes=num_classes)
    verdict = judge(found._replace(num_real=num_fake, num_fake=num_fake), LEVELS)
    assert verdict.name == name
    if name == "mode dropping":
        assert verdict.sentence.endswith(f". {modes} of {num_classes} classes occur.")
    if name == "imbalance":
        assert f"by {divergence:.2f} nats" in verdict.sentence


def test_classes_of_garbage_say_nothing() -> None:
    found = GOOD._replace(precision=0.1, density=0.05, modes=1, mode_kl=2.3, num_classes=10)
    assert judge(found, LEVELS)[:2] == ("garbage", ())


def test_copies_among_samples_that_fail() -> None:
    dropped = GOOD._replace(recall=0.43, coverage=0.49, memorization=0.92, copies=0.08)
    assert judge(dropped, LEVELS).also == ()
    copied = dropped._replace(memorization=0.99, copies=0.95)
    assert judge(copied, LEVELS).also == ("memorisation",)
    narrow = copied._replace(recall=0.0, coverage=0.97, density=6.0)
    assert judge(narrow, LEVELS)[:2] == ("within-mode collapse", ())


def test_alike_and_off_the_data() -> None:
    found = GOOD._replace(precision=0.75, recall=0.01, density=0.67, coverage=0.4, spread=0.7)
    assert judge(found, LEVELS)[:2] == ("within-mode collapse", ("garbage",))
    assert judge(GOOD._replace(density=2.0), LEVELS).name == "within-mode collapse"


def test_what_chance_explains_is_no_failure() -> None:
    found = GOOD._replace(recall=0.75)
    assert judge(found, LEVELS).name == "within-mode collapse"
    assert judge(found._replace(num_real=60, num_fake=60), LEVELS).name == "healthy"
    assert judge(found, LEVELS._replace(recall_std=0.1)).name == "healthy"
    few = GOOD._replace(recall=0.68, num_real=100, num_fake=100)
    assert judge(few, LEVELS).name != judge(few, LEVELS._replace(size=50)).name == "healthy"


def test_levels_follow_the_number_of_samples() -> None:
    drifting = LEVELS._replace(drift=-0.08)
    many = GOOD._replace(precision=0.72, recall=0.71, num_real=15_000, num_fake=15_000)
    assert judge(many, LEVELS).name != "healthy"
    assert judge(many, drifting).name == "healthy"
    few = GOOD._replace(coverage=0.38, num_real=15_000, num_fake=1500)
    assert judge(few, LEVELS).name == "healthy"
    assert judge(few._replace(num_fake=15_000), LEVELS).name == "imbalance"
    assert judge(few._replace(num_real=None, num_fake=None), LEVELS).name == "imbalance"


def test_a_spread_that_is_none_is_not_judged() -> None:
    assert judge(GOOD._replace(spread=math.nan), LEVELS).name == "healthy"
    assert "alike." in judge(GOOD._replace(spread=math.inf, recall=0.1), LEVELS).sentence


@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_figures_that_are_no_numbers(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be finite, got {value}"):
        judge(GOOD._replace(**{name: value}), LEVELS)  # type: ignore[arg-type]
