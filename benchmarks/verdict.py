"""What the verdict says of samples that fail in a known way.

    python -m benchmarks.verdict --mnist data

First the failures of a mixture of ten normal modes, with their figures; then how often each gets
its name in other mixtures; then weaker ones, and from which strength on they are noticed; then how
often samples of the very distribution of the data are called anything but healthy; last,
handwritten digits as they are and spoilt, by their pixels. The levels come from the real samples of
each case alone. The mixtures and their failures are those of ``tests/metrics/test_verdict.py``.
"""

import argparse
import datetime
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.transforms.v2.functional import gaussian_blur

import lightning_gan
from lightning_gan.functional import frechet_distance
from tests.metrics.test_verdict import FAILURES, Comparison, Failure, Mixture, compare

SEEDS = 10
SAMPLES = 3000
MIXTURES: dict[str, tuple[int, dict[str, Any]]] = {
    "10 modes, 14 of 64 dimensions, N = 3000": (3000, {}),
    "the same, N = 1000": (1000, {}),
    "the same, N = 300": (300, {}),
    "25 modes, 14 of 64, N = 2000": (2000, {"num_modes": 25}),
    "10 modes, 30 of 256, N = 2000": (2000, {"dim": 256, "intrinsic": 30}),
    "10 modes, 8 of 16, N = 1000": (1000, {"dim": 16, "intrinsic": 8}),
    "8 modes, 2 of 2, N = 1000": (
        1000,
        {"num_modes": 8, "dim": 2, "intrinsic": 2, "thickness": 0.0, "apart": 20.0},
    ),
}
WEAK: dict[str, Failure] = {
    "1 mode of 10 missing": lambda m, real, n: m.draw(n, *[1] * 9),
    "2 modes missing": lambda m, real, n: m.draw(n, *[1] * 8),
    "3 modes missing": lambda m, real, n: m.draw(n, *[1] * 7),
    "1 mode 3 times as often": lambda m, real, n: m.draw(n, 3, *[1] * 9),
    "1 mode 10 times as often": lambda m, real, n: m.draw(n, 10, *[1] * 9),
    "1 mode 30 times as often": lambda m, real, n: m.draw(n, 30, *[1] * 9),
    "modes shrunk to 0.95": lambda m, real, n: m.draw(n, scale=0.95),
    "modes shrunk to 0.9": lambda m, real, n: m.draw(n, scale=0.9),
    "modes shrunk to 0.8": lambda m, real, n: m.draw(n, scale=0.8),
    "half of the modes, shrunk to 0.5": lambda m, real, n: m.draw(n, 1, 1, 1, 1, 1, scale=0.5),
    "modes widened to 1.05": lambda m, real, n: m.draw(n, scale=1.05),
    "modes widened to 1.1": lambda m, real, n: m.draw(n, scale=1.1),
    "10 % noise": lambda m, real, n: mixed(m.draw(n), 3 * m.noise(*real.shape), 0.1),
    "20 % noise": lambda m, real, n: mixed(m.draw(n), 3 * m.noise(*real.shape), 0.2),
    "30 % between the modes": lambda m, real, n: mixed(m.draw(n), m.between(n), 0.3),
    "noise alone": lambda m, real, n: 3 * m.noise(*real.shape),
    "3 modes, jitter 0.5": lambda m, real, n: m.jitter(m.draw(n, 1, 1, 1), 0.5),
    "each sample twice": lambda m, real, n: m.draw(n // 2).repeat(2, 1),
    "10 % one sample": lambda m, real, n: mixed(m.draw(n), m.repeat(m.draw(1), n), 0.1),
    "30 % one sample": lambda m, real, n: mixed(m.draw(n), m.repeat(m.draw(1), n), 0.3),
    "10 % copies": lambda m, real, n: mixed(m.draw(n), real, 0.1),
    "20 % copies": lambda m, real, n: mixed(m.draw(n), real, 0.2),
    "30 % copies": lambda m, real, n: mixed(m.draw(n), real, 0.3),
    "copies of half of the modes": lambda m, real, n: copies_of_some(m, real, n),
}


def mixed(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Replace a share of the first samples by the second."""
    count = round(share * len(first))
    return torch.cat([second[:count], first[count:]])


def copies_of_some(mixture: Mixture, real: Tensor, n: int) -> Tensor:
    modes = torch.cdist(real, mixture.centres).argmin(dim=1)
    return mixture.repeat(real[modes < 5], n)


def lines_of(comparison: Comparison, fakes: dict[str, Tensor]) -> Iterator[str]:
    """Yield the lines of a table with the figures of samples and what is said of them."""
    yield ("| samples | FD | P | R | D | C | spread | repeats | nearer | copies | verdict | also |")
    yield "|" + "---|" * 12
    for name, fake in fakes.items():
        distance = frechet_distance(comparison.real, fake).item()
        found = comparison.evidence(fake)
        verdict = comparison.judge(fake)
        figures = [*found[:5], found.repeats, found.memorization, found.copies]
        cells = [name, f"{distance:.3g}", *(f"{figure:.2f}" for figure in figures)]
        yield f"| {' | '.join(cells)} | {verdict.name} | {', '.join(verdict.also)} |"


def mixture() -> Iterator[str]:
    """Yield the failures with their figures."""
    mixture = Mixture()
    comparison = compare(mixture, SAMPLES)
    made = {name: make(mixture, comparison.real, SAMPLES) for name, (make, _) in FAILURES.items()}
    yield from lines_of(comparison, made)
    yield ""
    verdict = comparison.judge(mixture.draw(SAMPLES, *[1] * 5))
    yield f"Of half of the modes it says: {verdict.sentence}"


def named() -> Iterator[str]:
    """Yield how often each failure gets its name in several mixtures."""
    yield f"| failure | name | {' | '.join(MIXTURES)} |"
    yield "|" + "---|" * (2 + len(MIXTURES))
    said: dict[str, list[str]] = {name: [] for name in FAILURES}
    for n, options in MIXTURES.values():
        names = {name: Counter[str]() for name in FAILURES}
        for seed in range(SEEDS):
            mixture = Mixture(**options, seed=seed)
            comparison = compare(mixture, n)
            for name, (make, _) in FAILURES.items():
                names[name][comparison.judge(make(mixture, comparison.real, n)).name] += 1
        for name, (_, expected) in FAILURES.items():
            said[name].append(counted(names[name], expected))
    for name, (_, expected) in FAILURES.items():
        yield f"| {name} | {expected} | {' | '.join(said[name])} |"


def counted(names: Counter[str], expected: str) -> str:
    """Say how often which names were given, if it was not always the expected one."""
    others = [f"{name} {count}" for name, count in names.items() if name != expected]
    return ", ".join([str(names[expected]), *others])


def weak() -> Iterator[str]:
    """Yield what is said of weaker failures, and of several at a time."""
    yield "| samples | name, of 10 | also |"
    yield "|---|---|---|"
    mixtures = [Mixture(seed=seed) for seed in range(SEEDS)]
    settings = [(mixture, compare(mixture, SAMPLES)) for mixture in mixtures]
    for name, make in WEAK.items():
        names, also = Counter[str](), Counter[str]()
        for mixture, comparison in settings:
            verdict = comparison.judge(make(mixture, comparison.real, SAMPLES))
            names[verdict.name] += 1
            also.update(verdict.also)
        texts = (", ".join(f"{key} {count}" for key, count in c.items()) for c in (names, also))
        yield f"| {name} | {' | '.join(texts)} |"


def false_alarms() -> Iterator[str]:
    """Yield how often samples of the very distribution are called unhealthy."""
    sizes = [(50, 50), (100, 100), (300, 300), (1000, 1000), (1000, 100), (300, 1000)]
    kinds: dict[str, dict[str, Any]] = {
        "10 modes, 14 of 64": {},
        "8 modes, 2 of 2": MIXTURES["8 modes, 2 of 2, N = 1000"][1],
        "1 mode, 64 of 64": {"num_modes": 1, "intrinsic": 64},
        "100 modes, 6 of 16": {"num_modes": 100, "dim": 16, "intrinsic": 6},
    }
    yield f"| mixture | {' | '.join(f'N = {n}, M = {m}' for n, m in sizes)} |"
    yield "|" + "---|" * (1 + len(sizes))
    for name, options in kinds.items():
        cells = []
        for real, fake in sizes:
            alarms = 0
            for seed in range(5 * SEEDS):
                mixture = Mixture(**options, seed=seed)
                alarms += compare(mixture, real).judge(mixture.draw(fake)).name != "healthy"
            cells.append(f"{alarms} of {5 * SEEDS}")
        yield f"| {name} | {' | '.join(cells)} |"


def images(images: Tensor, labels: Tensor, n: int, directions: int) -> Iterator[str]:
    """Yield what is said of real images, as they are and spoilt, by principal components."""
    random = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=random)
    real, held_out, rest = images[order].tensor_split([n, n + min(n, len(images) // 9)])
    classes = labels[order][-len(rest) :]
    centre = real.flatten(1).mean(dim=0)
    turn = torch.linalg.svd(real.flatten(1) - centre, full_matrices=False).Vh[:directions].T

    def features(images: Tensor) -> Tensor:
        rows: Tensor = (images.flatten(1) - centre) @ turn
        return rows

    def of(*kept: int) -> Tensor:
        return rest[torch.isin(classes, torch.tensor(kept))][:n]

    fresh = rest[:n]
    few = fresh[torch.randint(100, (len(fresh),), generator=random)]
    noise = torch.randn(fresh.shape, generator=random)
    comparison = Comparison(features(real), features(held_out))
    spoilt = {
        "held-out images": fresh,
        "a third as many": fresh[: n // 3],
        "no 9": of(*range(9)),
        "no 8 and no 9": of(*range(8)),
        "0 to 4": of(*range(5)),
        "only 1": of(1),
        "1 more often": mixed(fresh, of(1), min(0.5, len(of(1)) / n)),
        "100 images repeated": few,
        "1 image": fresh[:1].expand(n, -1, -1),
        "copies": real,
        "10 % copies": mixed(fresh, real, 0.1),
        "30 % copies": mixed(fresh, real, 0.3),
        "noise of 10": fresh + 10 * noise,
        "noise of 40": fresh + 40 * noise,
        "0 to 4, noise of 40": of(*range(5)) + 40 * noise[: len(of(*range(5)))],
        "noise alone": 255 * torch.rand(fresh.shape, generator=random),
        "blurred": gaussian_blur(fresh[:, None], [5, 5], [1.0, 1.0])[:, 0],
        "mirrored": fresh.flip(-1),
        "contrast 0.7": 0.7 * fresh,
        "means of two": (fresh + fresh.flip(0)) / 2,
    }
    yield from lines_of(comparison, {name: features(fake) for name, fake in spoilt.items()})


def report(mnist: Path | None) -> Iterator[str]:
    """Yield the lines of the report."""
    versions = {
        "lightning_gan": lightning_gan.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"`python -m benchmarks.verdict`, {datetime.date.today().isoformat()}; {used}."
    parts = {
        f"Ten modes in 14 of 64 dimensions, N = {SAMPLES}": mixture(),
        f"How often each failure gets its name, of {SEEDS} seeds": named(),
        "Weaker and mixed failures, the first mixture": weak(),
        "False alarms": false_alarms(),
    }
    digits = load_digits()
    pictures = torch.from_numpy(digits.images).float() * (255 / 16)
    parts["Digits of scikit-learn, 64 pixels, N = 700"] = images(
        pictures, torch.from_numpy(digits.target).long(), 700, 64
    )
    if mnist:
        data = MNIST(mnist)
        title = f"MNIST by 50 principal components, N = {SAMPLES}"
        parts[title] = images(data.data.float(), data.targets, SAMPLES, 50)
    for title, lines in parts.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield from lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mnist", type=Path, help="folder that holds MNIST/raw")
    parser.add_argument("--output", type=Path, help="Markdown file for what is printed")
    args = parser.parse_args()
    lines = []
    for line in report(args.mnist):
        print(line, flush=True)
        lines.append(f"{line}\n")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
