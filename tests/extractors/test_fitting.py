from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gan.data import GANDataModule, GaussianMixture, TensorSamples
from lightning_gan.data.base import Samples
from lightning_gan.extractors import DomainClassifier, fit_classifier
from lightning_gan.extractors.fitting import _shifted


class Requested(TensorSamples):
    """Samples that note which were asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[Tensor] = []

    def __getitem__(self, index: Tensor) -> Samples:
        self.batches.append(index)
        return super().__getitem__(index)


class Halves(GANDataModule):
    """Noise, brighter in the upper half (0) or in the lower half (1)."""

    def __init__(
        self, n: int = 64, side: int = 8, held_out: bool = True, flip: bool = False
    ) -> None:
        super().__init__()
        self.n, self.side, self.held_out, self.flip = n, side, held_out, flip

    def load(self) -> None:
        self.num_classes = 2
        self.train_set = self.drawn(self.flip)
        self.test_set = self.drawn() if self.held_out else None

    def drawn(self, flip: bool = False) -> Requested:
        images = torch.randint(
            100, (self.n, 1, self.side, self.side), generator=torch.Generator().manual_seed(0)
        )
        labels = torch.arange(self.n) % 2
        rows = torch.arange(self.side) * 2 // self.side  # 0 above, 1 below
        bright = (rows == labels[:, None]).long()[:, None, :, None] * 150
        return Requested((images + bright).to(torch.uint8), labels, flip)


def fit(data: GANDataModule, epochs: int = 2, **options: Any) -> DomainClassifier:
    return fit_classifier(data, epochs, progress=False, widths=(4, 4), **options)


def set_up(**options: Any) -> Halves:
    data = Halves(**options)
    data.setup("fit")
    return data


def test_it_learns() -> None:
    data = Halves()
    classifier = fit(data, 8, name="halves")
    assert classifier.accuracy == 1
    assert data.test_set is not None
    logits = classifier(data.test_set.samples).logits
    assert logits is not None
    assert (logits.argmax(dim=1) == data.test_set.labels).all()
    assert classifier.name == "halves"
    assert classifier.num_classes == 2
    assert classifier.fingerprint == data.train_set.fingerprint()
    assert not any(weight.requires_grad for weight in classifier.parameters())


def test_the_seed_decides_and_the_global_generator_does_not() -> None:
    before = torch.get_rng_state()
    first = fit(Halves(side=16, held_out=False))
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    torch.rand(5)
    second = fit(Halves(side=16, held_out=False))
    assert second.digest() == first.digest()
    assert second.accuracy == first.accuracy
    assert fit(Halves(side=16, held_out=False), seed=1).digest() != first.digest()


def test_it_trains_where_gradients_are_off() -> None:
    with torch.inference_mode():
        within = fit(Halves())
    assert within.digest() == fit(Halves()).digest()


@pytest.mark.parametrize("flip", [False, True])
def test_a_tenth_is_held_out_with_its_mirror_images(flip: bool) -> None:
    data = set_up(held_out=False, flip=flip)
    fit(data, 8)
    assert isinstance(data.train_set, Requested)
    *trained, judged = data.train_set.batches
    used = torch.cat(trained)
    assert len(judged.unique()) == len(judged) == 6
    assert judged.max() < 64
    assert not torch.isin(used % 64, judged).any()
    assert (used.max() >= 64) == flip
    assert len(used.unique()) == 58 * (2 if flip else 1)  # all others


def test_images_are_shifted_by_a_few_pixels() -> None:
    images = torch.zeros(400, 1, 7, 9)
    images[:, :, 3, 4] = 1
    moved = _shifted(images, 2)
    assert (moved.sum(dim=(1, 2, 3)) == 1).all()
    _, _, rows, columns = moved.nonzero().unbind(dim=1)
    assert set(rows.tolist()) == {1, 2, 3, 4, 5}
    assert set(columns.tolist()) == {2, 3, 4, 5, 6}
    corner = torch.zeros(400, 1, 7, 9)
    corner[:, :, 0, 0] = 1
    assert set(_shifted(corner, 1).sum(dim=(1, 2, 3)).tolist()) == {0, 1, 2, 4}  # edges repeated


def test_large_images_are_shrunk() -> None:
    classifier = fit(set_up(n=20, side=80), 1)
    assert classifier.image_size == (64, 64)
    assert classifier.resize.endswith("to 64x64")


def test_labels_that_say_nothing_give_a_warning() -> None:
    data = set_up(n=400)
    assert data.test_set is not None
    for samples in (data.train_set, data.test_set):
        samples.labels = torch.randint(2, (400,))
    with pytest.warns(UserWarning, match=r"right for .* and the most frequent class alone would"):
        fit(data, 1)


class TestRefusals:
    def test_no_labels(self) -> None:
        data = set_up()
        data.num_classes = None
        with pytest.raises(
            ValueError, match=r"at least 2 classes, got none from Halves.*inception"
        ):
            fit(data)

    def test_points(self) -> None:
        with pytest.raises(ValueError, match=r"images \(C, H, W\), got .* \(2,\) from GaussianMix"):
            fit(GaussianMixture(num_samples=100))

    def test_too_few(self) -> None:
        with pytest.raises(ValueError, match=r"at least 20 training images.* got 18 from Halves"):
            fit(Halves(n=18))

    def test_nan(self) -> None:
        data = set_up()
        data.train_set.samples = data.train_set.samples / 127.5 - 1
        data.train_set.samples[:, 0, 3, 3] = float("nan")
        with pytest.raises(ValueError, match="finite images, got NaN or infinity"):
            fit(data)

    def test_no_epochs(self) -> None:
        with pytest.raises(ValueError, match="'epochs' to be at least 1, got 0"):
            fit(Halves(), 0)
