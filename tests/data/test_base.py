from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_gan.data import BatchStream, GANDataModule, TensorSamples
from tests.toys import toy_trainer


class Numbers(GANDataModule):
    """Samples that are their own index."""

    loads = 0

    def load(self) -> None:
        self.loads += 1
        self.train_set = TensorSamples(torch.arange(40.0)[:, None], torch.arange(40) % 3)
        self.test_set = TensorSamples(torch.arange(10.0)[:, None], torch.arange(10) % 3)


class TrainingOnly(Numbers):
    def load(self) -> None:
        super().load()
        self.test_set = None


def fake_trainer(
    n_critic: int = 1, read: int = 0, seed: int | None = None, images_seen: int = 0
) -> Any:
    """Return what of a Trainer the data modules use; ``seed`` is that of rank 0."""
    progress = SimpleNamespace(total=SimpleNamespace(processed=read))
    return SimpleNamespace(
        world_size=2,
        global_rank=1,
        lightning_module=SimpleNamespace(batches_per_step=n_critic, images_seen=images_seen),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        strategy=SimpleNamespace(broadcast=lambda own: own if seed is None else seed),
    )


def ready(data: Numbers, trainer: Any = None) -> Numbers:
    data.trainer = trainer
    data.setup("fit")
    return data


def order(data: GANDataModule) -> list[list[float]]:
    return [samples[:, 0].tolist() for samples, _ in data.train_dataloader()]


def test_bytes_become_minus_one_to_one() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    image = TensorSamples(images, torch.zeros(1))[torch.tensor([0])][0]
    assert image.dtype == torch.float32
    assert image.min().item() == image[0, 0, 0, 0].item() == -1.0
    assert image.max().item() == image[0, 0, 15, 15].item() == 1.0
    back = (image + 1).mul(127.5).round()
    torch.testing.assert_close(back, images.float(), rtol=0, atol=0)


def test_floats_stay_as_they_are() -> None:
    samples = torch.tensor([[3.0, -7.5]])
    drawn = TensorSamples(samples, torch.zeros(1))[torch.tensor([0, 0])][0]
    torch.testing.assert_close(drawn, samples.repeat(2, 1), rtol=0, atol=0)


@pytest.mark.parametrize("flip", [False, True])
def test_one_look_up_equals_one_by_one(flip: bool) -> None:
    images = torch.randint(256, (5, 3, 4, 6), dtype=torch.uint8)
    dataset = TensorSamples(images, torch.arange(5), flip)
    index = torch.randperm(len(dataset))
    together = dataset[index]
    single = [dataset[i[None]] for i in index]
    for k in range(2):
        expected = torch.cat([one[k] for one in single])
        torch.testing.assert_close(together[k], expected, rtol=0, atol=0)


def test_the_second_half_is_mirrored() -> None:
    dataset = TensorSamples(
        torch.randint(256, (3, 1, 2, 4), dtype=torch.uint8), torch.arange(3), True
    )
    images, labels = dataset[torch.arange(6)]
    assert len(dataset) == 6
    torch.testing.assert_close(images[3:], images[:3].flip(-1), rtol=0, atol=0)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert not torch.equal(images[3:], images[:3])


def test_the_samples_in_memory_stay_untouched() -> None:
    images = torch.full((2, 1, 2, 2), 7, dtype=torch.uint8)
    TensorSamples(images, torch.arange(2), True)[torch.arange(4)]
    assert images.unique().tolist() == [7]


def test_a_step_gets_a_batch_for_each_update_of_the_discriminator() -> None:
    data = ready(Numbers(batch_size=4, seed=1), fake_trainer(n_critic=3))
    assert [len(batch) for batch in order(data)] == [12]


def test_without_a_trainer_a_batch_is_a_batch() -> None:
    assert [len(batch) for batch in order(ready(Numbers(batch_size=4, seed=1)))] == [4] * 10


def test_training_goes_on_where_the_trainer_counts() -> None:
    whole = order(ready(Numbers(batch_size=4, seed=1), fake_trainer()))
    rest = order(ready(Numbers(batch_size=4, seed=1), fake_trainer(read=2)))
    assert rest[:3] == whole[2:]


def test_the_rank_comes_from_the_trainer() -> None:
    expected = [b.tolist() for b in BatchStream(40, 4, 1, 2, 1)]
    assert order(ready(Numbers(batch_size=4, seed=1), fake_trainer())) == expected


def test_the_seed_is_that_of_seed_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert ready(Numbers()).seed == 17
    assert ready(Numbers(seed=3)).seed == 3
    assert ready(Numbers(seed=0)).seed == 0


def test_the_seed_is_drawn_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    first, second = ready(Numbers()), ready(Numbers())
    assert first.seed != second.seed
    assert isinstance(first.seed, int)


def test_ranks_agree_on_a_drawn_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert ready(Numbers(), fake_trainer(seed=99)).seed == 99


def test_the_state_keeps_the_order() -> None:
    saved = ready(Numbers(batch_size=4, seed=5))
    other = ready(Numbers(batch_size=4, seed=6))
    assert order(other) != order(saved)
    other.load_state_dict(saved.state_dict())
    assert order(other) == order(saved)


def test_data_is_loaded_once() -> None:
    data = ready(Numbers())
    data.setup("test")
    assert data.loads == 1
    assert data.sample_shape == (1,)


@pytest.mark.parametrize("kind", ["val", "test", "predict"])
def test_held_out_samples_come_in_order(kind: str) -> None:
    data = ready(Numbers(batch_size=4))
    loader = getattr(data, f"{kind}_dataloader")()
    assert [len(labels) for _, labels in loader] == [4, 4, 2]
    assert torch.cat([samples for samples, _ in loader])[:, 0].tolist() == list(range(10))


def test_without_held_out_samples() -> None:
    data = ready(TrainingOnly(batch_size=4))
    assert data.val_dataloader() == []
    assert sum(len(labels) for _, labels in data.predict_dataloader()) == 40
    with pytest.raises(ValueError, match="Expected held-out data in TrainingOnly, got none"):
        data.test_dataloader()


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_predicts_in_order(tmp_path: Path, workers: int) -> None:
    class Echo(LightningModule):
        def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return batch[0]

    predictions: Any = toy_trainer(tmp_path).predict(Echo(), Numbers(4, num_workers=workers))
    assert [len(batch) for batch in predictions] == [4, 4, 2]
    assert torch.cat(predictions)[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("num_workers", -1)])
def test_arguments_out_of_range(name: str, value: int) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"Expected '{name}' to be at least .*, got {value}"):
        Numbers(**options)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 6, 11])
def test_areas_are_averaged_and_rounded_once(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gan.data.base.PIXELS_AT_ONCE", 1000)
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 12, 12), dtype=np.uint8)
    expected = np.empty((7, 3, side, side))
    ends = [(k * 12 // side, -(-(k + 1) * 12 // side)) for k in range(side)]
    for i, (top, bottom) in enumerate(ends):
        for j, (left, right) in enumerate(ends):
            expected[..., i, j] = images[..., top:bottom, left:right].mean((2, 3))
    small = TensorSamples(torch.from_numpy(images), torch.arange(7)).resized(side)
    assert small.samples.dtype == torch.uint8
    assert small.sample_shape == (3, side, side)
    np.testing.assert_allclose(small.samples.numpy(), expected, rtol=0, atol=0.5 + 1e-4)
    floats = TensorSamples(torch.from_numpy(images).double(), torch.arange(7)).resized(side)
    torch.testing.assert_close(floats.samples, torch.from_numpy(expected), rtol=1e-12, atol=0)


def test_a_large_set_is_averaged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def record(images: Tensor, *args: Any, **options: Any) -> Tensor:
        sizes.append(images.shape[0])
        return interpolate(images, *args, **options)

    monkeypatch.setattr("lightning_gan.data.base.interpolate", record)
    monkeypatch.setattr("lightning_gan.data.base.PIXELS_AT_ONCE", 3 * 64 + 1)
    TensorSamples(torch.zeros(8, 1, 8, 8), torch.arange(8)).resized(4)
    assert sizes == [3, 3, 2]
    monkeypatch.setattr("lightning_gan.data.base.PIXELS_AT_ONCE", 1)
    TensorSamples(torch.zeros(2, 1, 8, 8), torch.arange(2)).resized(4)
    assert sizes[3:] == [1, 1]


def test_labels_and_mirror_images_stay() -> None:
    images = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    small = TensorSamples(images, torch.tensor([5, 6, 7]), True).resized(2)
    drawn, labels = small[torch.arange(6)]
    assert labels.tolist() == [5, 6, 7] * 2
    torch.testing.assert_close(drawn[3:], drawn[:3].flip(-1), rtol=0, atol=0)
    assert not torch.equal(drawn[3:], drawn[:3])


def test_the_own_side_needs_no_memory() -> None:
    samples = TensorSamples(torch.zeros(2, 1, 8, 8), torch.arange(2))
    assert samples.resized(8) is samples


def test_a_fingerprint_is_of_the_content() -> None:
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    labels = torch.zeros(5, dtype=torch.int64)
    plain = TensorSamples(images, labels).fingerprint()
    assert TensorSamples(images.clone(), labels + 1, horizontal_flip=True).fingerprint() == plain
    changed = images.clone()
    changed[3, 0, 2, 2] ^= 1
    others = [changed, images.flip(0), images.view(5, 1, 2, 8), images.float()]
    assert plain not in [TensorSamples(other, labels).fingerprint() for other in others]


def test_originals_leave_out_mirror_images() -> None:
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    flipped = TensorSamples(images, torch.zeros(5), horizontal_flip=True)
    assert (len(flipped), flipped.originals) == (10, 5)
