from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_gan.data import (
    BatchStream,
    EvaluationBatches,
    GANDataModule,
    SampleStream,
    TensorSamples,
)
from tests.data.test_base import fake_trainer
from tests.toys import toy_trainer


class Pictures(GANDataModule):
    """Images of 8x8 whose mean is their own index, in bytes, also where areas are averaged."""

    def load(self) -> None:
        self.train_set = TensorSamples(pictures(40), torch.arange(40) % 3)
        self.test_set = TensorSamples(pictures(10), torch.arange(10) % 3)


def pictures(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 8, 8)


def delivery(images: int) -> tuple[int | None, int]:
    """Ask for 3 samples of side 2, after 24 images for the module's own of side 4, then of 8."""
    return (3, 2) if images < 24 else (None, 4) if images < 72 else (5, 8)


def ready() -> Pictures:
    data = Pictures(batch_size=4)
    data.setup("fit")
    return data


def following(seen: int = 0, n_critic: int = 1, rank: int = 1, **options: Any) -> Pictures:
    data = Pictures(**{"batch_size": 4, "seed": 1} | options)
    data.trainer = fake_trainer(n_critic, images_seen=seen)
    data.trainer.global_rank = rank  # type: ignore[misc]
    data.setup("fit")
    data.follow(delivery, [2, 4, 8])
    return data


def numbers(images: Tensor) -> list[int]:
    """Return the index of each image, after checking that all of its pixels have it."""
    pixels = (images.flatten(1) + 1).mul(127.5).round().long()
    assert torch.equal(pixels, pixels[:, :1].expand_as(pixels))
    return pixels[:, 0].tolist()


def contents(loader: Any) -> list[tuple[list[int], int]]:
    return [(numbers(images), images.shape[-1]) for images, _ in loader]


@pytest.mark.parametrize("seen", [0, 18, 24, 66, 200])
@pytest.mark.parametrize("n_critic", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_follow_the_images_seen(seen: int, n_critic: int, workers: int) -> None:
    for rank in range(2):
        stream = SampleStream(40, 4, delivery, n_critic, 1, 2, rank, lambda: seen)
        expected = [(batch.tolist(), side) for batch, side in stream]
        loader = following(seen, n_critic, rank, num_workers=workers).train_dataloader()
        assert len(loader) == len(expected) == 5 // n_critic
        assert contents(loader) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_come_with_their_images(workers: int) -> None:
    for images, labels in following(18, num_workers=workers).train_dataloader():
        assert labels.tolist() == [number % 3 for number in numbers(images)]


@pytest.mark.parametrize("kind", ["val", "test", "predict"])
@pytest.mark.parametrize("workers", [0, 1])
def test_held_out_samples_have_the_resolution_of_the_start(kind: str, workers: int) -> None:
    data = following(num_workers=workers)
    model: Any = data.trainer.lightning_module  # type: ignore[union-attr]
    loader = getattr(data, f"{kind}_dataloader")()
    for model.images_seen, side in [(0, 2), (24, 4), (71, 4), (72, 8)]:
        expected = [(batch.tolist(), side) for batch in EvaluationBatches(10, 4, 2, 1)]
        assert contents(loader) == expected


def test_the_pyramid_is_built_once() -> None:
    data = following()
    first = data.train_dataloader().dataset
    data.setup("test")
    data.follow(delivery, [2, 4, 8])
    assert data.train_dataloader().dataset is first
    data.follow(delivery, [2, 8])
    assert data.train_dataloader().dataset is not first


def test_a_run_without_the_callback_is_as_ever() -> None:
    data, other = following(), Pictures(batch_size=4, seed=1)
    for each in (data, other):
        each.trainer = fake_trainer(images_seen=50)
        each.setup("fit")
    for kind in ("train", "val"):
        loaders = [getattr(each, f"{kind}_dataloader")() for each in (data, other)]
        assert contents(loaders[0]) == contents(loaders[1])
        assert {side for _, side in contents(loaders[0])} == {8}


@pytest.mark.parametrize("resolutions", [[4, 8, 16], [9]])
def test_resolutions_above_the_data_are_refused(resolutions: list[int]) -> None:
    data = ready()
    with pytest.raises(ValueError, match=r"'resolutions' .*, got \[.*\] for .* \(1, 8, 8\)"):
        data.follow(delivery, resolutions)


@pytest.mark.parametrize("shape", [(2,), (1, 8, 4), (1, 4, 8), (8, 8)])
def test_data_that_are_no_square_images_are_refused(shape: tuple[int, ...]) -> None:
    data = ready()
    data.train_set = TensorSamples(torch.zeros(3, *shape), torch.arange(3))
    with pytest.raises(ValueError, match=r"Expected 'resolutions' to be at most the side of sq"):
        data.follow(delivery, [2, 4])


class Follow(Callback):
    """What a callback that owns the schedule does."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.follow(delivery, [2, 4, 8])


class Counting(LightningModule):
    """Count the images, and keep what comes."""

    def __init__(self, images_seen: int = 0) -> None:
        super().__init__()
        self.images_seen = images_seen
        self.layer = torch.nn.Linear(1, 1)
        self.read: list[tuple[list[int], int]] = []
        self.validated: list[tuple[int, int]] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.read.append((numbers(batch[0]), batch[0].shape[-1]))
        self.images_seen += len(batch[0])
        return self.layer(batch[0].mean().view(1, 1)).sum()  # type: ignore[no-any-return]

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.validated.append((self.images_seen, batch[0].shape[-1]))

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return batch[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


# A tiny set on few cores, of which Lightning thinks that it could be read by more processes.
quiet = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@quiet
@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_trains_through_all_resolutions(tmp_path: Path, workers: int) -> None:
    model, data = Counting(), Pictures(4, workers, seed=1)
    options: Any = {"max_steps": 25, "callbacks": [Follow()], "num_sanity_val_steps": 0}
    toy_trainer(tmp_path, **options).fit(model, data)
    epochs = [BatchStream(40, 40, 1, first_batch=lambda k=k: k) for k in range(3)]  # type: ignore[misc]
    joined = [number for epoch in epochs for batch in epoch for number in batch.tolist()]
    expected, n = [], 0
    for _ in range(25):
        count, side = delivery(n)
        expected.append((joined[n : n + (count or 4)], side))
        n += count or 4
    assert model.read == expected
    assert {side for _, side in expected} == {2, 4, 8}
    assert model.validated
    assert all(side == delivery(seen)[1] for seen, side in model.validated)


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_predicts_at_the_resolution_of_the_model(tmp_path: Path, workers: int) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Follow()])
    data = Pictures(4, num_workers=workers)
    predictions: Any = trainer.predict(Counting(images_seen=30), data)
    assert [tuple(batch.shape) for batch in predictions] == [(4, 1, 4, 4)] * 2 + [(2, 1, 4, 4)]
