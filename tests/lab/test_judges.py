"""What a comparison counts, against samples whose counts are known."""

import base64
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision import datasets

from lightning_gan import GAN
from lightning_gan.data import Digits, GaussianMixture, StackedMNIST
from lightning_gan.extractors import cache_folder, fit_classifier
from lightning_gan.gans.generative import SAMPLE_CHUNK
from lightning_gan.lab import judges
from lightning_gan.lab.judges import MixtureJudge, StackedJudge, without_average
from lightning_gan.networks import MLPDiscriminator
from tests.toys import toy_networks


class Fixed(nn.Module):
    """Return the samples that it was given, in order."""

    latent_dim = 1

    def __init__(self, samples: Tensor) -> None:
        super().__init__()
        self.samples = nn.Parameter(samples)

    def forward(self, z: Tensor) -> Tensor:
        return self.samples[: len(z)]


def model_of(samples: Tensor) -> GAN:
    return GAN(Fixed(samples), MLPDiscriminator())


def ring() -> GaussianMixture:
    data = GaussianMixture("ring", num_samples=3000)
    data.setup("fit")
    return data


def test_modes_of_a_mixture() -> None:
    data = ring()
    samples = torch.cat([data.centers[:2], torch.zeros(2, 2)])
    found = MixtureJudge(4).of_model(model_of(samples), data, seed=0)
    assert found == {"modes": 2.0, "high_quality": 50.0, "reverse_kl": pytest.approx(math.log(4))}


def test_samples_without_any_good_one_or_any_number() -> None:
    judge, data = MixtureJudge(2), ring()
    nothing = {"modes": 0.0, "high_quality": 0.0, "reverse_kl": None}
    assert judge.of_model(model_of(torch.zeros(2, 2)), data, seed=0) == nothing
    assert judge.of_model(model_of(torch.full((2, 2), math.nan)), data, seed=0) == nothing


def test_real_samples_are_nearly_perfect() -> None:
    found = MixtureJudge().of_data(ring())
    assert found["modes"] == 8
    assert found["high_quality"] == pytest.approx(98.889, abs=1.0)
    assert found["reverse_kl"] == pytest.approx(7 / (2 * 2500), abs=0.003)


def test_averaged_and_last_generator_on_the_same_latents() -> None:
    judge, data, model = MixtureJudge(50), ring(), GAN(**toy_networks())
    assert judge.of_both(model, data, 0).keys() == {"last"}
    average = model.attach_ema()
    nn.init.zeros_(average.layers[-2].weight)  # type: ignore[union-attr, index]
    average.layers[-2].bias.data.copy_(data.centers[3])  # type: ignore[union-attr, index]
    found = judge.of_both(model, data, 0)
    assert found["average"]["modes"] == 1
    assert found["average"] == judge.of_model(model, data, 0)
    with without_average(model):
        assert found["last"] == judge.of_model(model, data, 0)
    assert model.ema_generator is average


def test_judging_moves_no_random_numbers() -> None:
    before = torch.get_rng_state()
    MixtureJudge(20).of_both(GAN(**toy_networks()), ring(), 0)
    model = GAN(**toy_networks())
    state = torch.get_rng_state()
    MixtureJudge(20).of_both(model, ring(), 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(before, state)


def digits(train: bool) -> Any:
    """Return images of ten kinds that are easily told apart: a bright row for each digit."""
    labels = torch.arange(300 if train else 50) % 10
    data = torch.zeros(len(labels), 28, 28, dtype=torch.uint8)
    for row in range(2):
        data[torch.arange(len(labels)), 4 + 2 * labels + row] = 255
    return SimpleNamespace(data=data, targets=labels)


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> StackedMNIST:
    monkeypatch.setattr(
        StackedMNIST, "source", staticmethod(lambda root, train, download=False: digits(train))
    )
    monkeypatch.setattr(judges, "fit_classifier", partial(fit_classifier, epochs=10))
    monkeypatch.setattr(judges, "WIDTHS", (8, 8))
    data = StackedMNIST(image_size=28, num_samples=400)
    data.prepare_data()
    data.setup("fit")
    return data


def test_the_source_that_is_replaced_is_there() -> None:
    assert StackedMNIST.source is datasets.MNIST


def test_classes_of_stacked_digits(stacked: StackedMNIST) -> None:
    judge = StackedJudge(num_samples=400)
    labels = stacked.train_set.labels
    counts = labels.bincount(minlength=1000).double()
    shares = counts[counts > 0] / counts.sum()
    found = judge.of_data(stacked)
    assert found["modes"] == len(shares)
    assert found["reverse_kl"] == pytest.approx(float((shares * (1000 * shares).log()).sum()))
    images, _ = stacked.train_set[torch.tensor([0, 1, 0, 0])]
    few = StackedJudge(num_samples=4)
    few._digits = judge._digits
    assert few.of_model(model_of(images), stacked, 0)["modes"] == len(set(labels[:2].tolist()))
    assert "right for 100.00% of held-out digits" in judge.note(stacked)
    [kept] = cache_folder().glob("stacked-digit-*.pt")
    few._digits = {}
    assert few.note(stacked).split("classifier ")[1] == judge.note(stacked).split("classifier ")[1]
    by_file = StackedJudge(kept, num_samples=400)
    assert by_file.of_data(stacked) == found


def test_what_is_kept_of_images(stacked: StackedMNIST) -> None:
    images, _ = stacked.train_set[torch.arange(judges.KEPT_IMAGES)]
    judge, figure = StackedJudge(), Figure()
    kept = judge.keep(model_of(images), 0)
    assert base64.b64decode(kept).startswith(b"\x89PNG")
    axes = figure.subplots()
    judge.show(axes, kept, stacked)
    rows = judges.KEPT_IMAGES // judges.IMAGES_PER_ROW
    assert axes.images[0].get_size() == (29 * rows + 1, 29 * judges.IMAGES_PER_ROW + 1)


def test_what_is_kept_of_points() -> None:
    judge, data, figure = MixtureJudge(), ring(), Figure()
    points = torch.randn(judges.KEPT_POINTS, 2)
    kept = judge.keep(model_of(points), 0)
    expected = torch.cat([points[:SAMPLE_CHUNK], points])[: len(points)]  # it begins anew there
    torch.testing.assert_close(torch.tensor(kept), expected, rtol=0, atol=0.0006)
    axes = figure.subplots()
    judge.show(axes, kept, data)
    assert [len(line.get_xdata()) for line in axes.lines] == [8, judges.KEPT_POINTS]  # type: ignore[arg-type]


def test_data_that_cannot_be_judged(stacked: StackedMNIST) -> None:
    with pytest.raises(TypeError, match="'data' of a MixtureJudge to be a GaussianMixture, got D"):
        MixtureJudge().check(Digits())
    with pytest.raises(TypeError, match="'data' of a StackedJudge to be StackedMNIST, got Gauss"):
        StackedJudge().check(ring())
    MixtureJudge().check(ring())
    StackedJudge().check(stacked)


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="'num_samples' to be at least 1, got 0"):
        MixtureJudge(0)
