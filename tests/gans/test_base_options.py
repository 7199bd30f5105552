"""Options of every variant: clipped weights, augmentation and replay through the Trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from lightning_gan import GAN, WGANGP
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import R1, R2, GANAdam, LeCam
from lightning_gan.training.augmentation import Augmentation, InstanceNoise
from lightning_gan.training.batch import Batch
from lightning_gan.training.penalty import Terms
from lightning_gan.training.replay import ExperienceReplay
from lightning_gan.training.schedules import LinearSchedule
from tests.toys import (
    NUM_CLASSES,
    ToyData,
    ValidatedData,
    flat,
    image_networks,
    images,
    labelled,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)

# Clipped weights


@pytest.mark.parametrize("variant", [GAN, WGANGP])
def test_any_variants_weights_can_be_clipped(
    variant: type[AdversarialModule], tmp_path: Path
) -> None:
    model = variant(**toy_networks(), weight_clip_val_d=0.2)
    generator = flat(model.generator)
    toy_trainer(tmp_path).fit(model, points())
    weights = flat(model.discriminator).abs()
    assert weights.max() == torch.tensor(0.2)
    assert (weights == weights.max()).sum() > 1
    assert flat(model.generator).abs().max() > 0.25
    assert not torch.equal(flat(model.generator), generator)


def test_weights_are_clipped_after_every_update(tmp_path: Path) -> None:
    class Watched(GAN):
        def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
            bounds.append(float(flat(self.discriminator).abs().max()))
            return super().discriminator_loss(real, fake)

    bounds: list[float] = []
    model = Watched(**toy_networks(), n_critic=3, weight_clip_val_d=0.1, optimizer_d=sgd)
    toy_trainer(tmp_path, max_steps=2).fit(model, points())
    assert len(bounds) == 6
    assert bounds[0] > 0.2
    assert bounds[1:] == [pytest.approx(0.1)] * 5


# Augmentation


class _Shift(Augmentation):
    """Adds 100, and remembers the sizes of, and the images seen before, what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[int, int]] = []

    def forward(self, samples: Tensor, images: int) -> Tensor:
        assert samples.abs().max() < 50  # nothing is augmented twice
        self.calls.append((len(samples), images))
        return samples + 100


class _Watched(nn.Module):
    """Passes on what it is shown, after a look at it."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.inner = discriminator
        self.smallest: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.smallest.append(float(x.detach().min()))
        result: Tensor = self.inner(x)
        return result


def test_all_that_is_shown_in_training_is_augmented(tmp_path: Path) -> None:
    networks, shift = toy_networks(), _Shift()
    watched = networks["discriminator"] = _Watched(networks["discriminator"])
    model = GAN(**networks, n_critic=2, augmentation=shift, penalties=[R1()])
    toy_trainer(tmp_path, max_steps=3).fit(model, points(n=20))
    # Two samples are tried before. Then real, generated and penalised samples of two updates, and
    # those of the generator's.
    step = [10, 10, 10] * 2 + [10]
    assert [n for n, _ in shift.calls] == [2, *step * 3]
    assert [at for _, at in shift.calls] == [0, *[0] * 7, *[20] * 7, *[40] * 7]
    assert len(watched.smallest) == len(shift.calls)
    assert min(watched.smallest) > 50


def test_held_out_samples_are_not_augmented(tmp_path: Path) -> None:
    networks, shift = toy_networks(), _Shift()
    watched = networks["discriminator"] = _Watched(networks["discriminator"])
    model = GAN(**networks, augmentation=shift)
    toy_trainer(tmp_path).validate(model, points().train_dataloader(), verbose=False)
    assert shift.calls == []
    # Two samples are tried before. Then real and generated, of which both losses are made.
    assert len(watched.smallest) == 1 + 4 * 2
    assert max(watched.smallest) < 50


def test_validation_between_iterations_leaves_training_augmented(tmp_path: Path) -> None:
    networks, shift = toy_networks(), _Shift()
    watched = networks["discriminator"] = _Watched(networks["discriminator"])
    model = GAN(**networks, augmentation=shift)
    trainer = toy_trainer(tmp_path, max_steps=4, val_check_interval=2, num_sanity_val_steps=1)
    trainer.fit(model, ValidatedData(*points().batches))
    augmented = sum(value > 50 for value in watched.smallest)
    assert augmented == len(shift.calls) == 4 * 3
    assert len(watched.smallest) - augmented == 1 + (1 + 2 * 4) * 2  # tried before the first


def test_generator_learns_through_the_augmentation(tmp_path: Path) -> None:
    """With a factor in front of a linear discriminator, the gradient has the factor, too."""

    class Scale(Augmentation):
        def forward(self, samples: Tensor, images: int) -> Tensor:
            return -3 * samples

    moves = []
    for augmentation in (None, Scale()):
        critic = nn.Linear(2, 1, bias=False)
        critic.weight = nn.Parameter(torch.tensor([[1.0, 2.0]]))
        model = WGANGP(
            nn.Linear(3, 2),
            critic,
            latent_dim=3,
            gp_weight=0.0,
            n_critic=1,
            augmentation=augmentation,
            optimizer_g=sgd,
            optimizer_d=lambda p: torch.optim.SGD(p, lr=0.0),
        )
        before = model.generator.bias.detach().clone()  # type: ignore[operator]
        toy_trainer(tmp_path, max_steps=1).fit(model, points())
        moves.append(model.generator.bias.detach() - before)  # type: ignore[operator]
    torch.testing.assert_close(moves[0], 0.05 * torch.tensor([1.0, 2.0]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moves[1], -3 * moves[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_noise_of_nothing_changes_no_bit_of_a_run(std: float, tmp_path: Path) -> None:
    weights = []
    for augmentation in (None, InstanceNoise(std)):
        torch.manual_seed(0)
        model = GAN(**image_networks(), augmentation=augmentation)
        toy_trainer(tmp_path).fit(model, images())
        weights.append(flat(model))
    assert torch.equal(*weights) == (std == 0)


def test_what_is_scheduled_is_logged(tmp_path: Path) -> None:
    def falling(start: float) -> LinearSchedule:
        return LinearSchedule(start, 0.0, images=200)

    model = GAN(
        **toy_networks(),
        augmentation=InstanceNoise(falling(0.5)),
        penalties=[R1(falling(4.0)), R2(1.0)],
        top_k=LinearSchedule(1.0, 0.5, images=200),
        optimizer_g=lambda p: GANAdam(p, lr=falling(2e-3)),
        optimizer_d=lambda p: GANAdam(p, beta2=LinearSchedule(0.9, 0.99, images=200)),
    )
    trainer = toy_trainer(tmp_path, max_steps=2, log_every_n_steps=1)
    trainer.fit(model, points(n=50))  # 100 images are seen when the second iteration is logged
    expected = {
        "noise_std": 0.25,
        "r1_weight": 2.0,
        "top_k": 0.75,
        "lr_g": 1e-3,
        "beta2_d": 0.945,
    }
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for name, value in expected.items():
        assert logged[f"train/{name}"] == pytest.approx(value)
    assert not {"train/r2_weight", "train/beta2_g", "train/lr_d"} & set(logged)


# Replay


class _Mean(GAN):
    """Remembers what its discriminator was shown as generated, and what was just made."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.made: list[Batch] = []
        self.shown: list[Batch] = []

    def generate(self, n: int, labels: Tensor | None = None) -> Batch:
        self.made.append(super().generate(n, labels))
        return self.made[-1]

    def discriminator_loss(self, real: Batch, fake: Batch) -> Terms:
        self.shown.append(fake)
        assert not fake.samples.requires_grad
        return super().discriminator_loss(real, fake)


def test_discriminator_is_shown_earlier_samples(tmp_path: Path) -> None:
    model = _Mean(**toy_networks(), n_critic=2, replay=ExperienceReplay(1000, fraction=0.5))
    toy_trainer(tmp_path, max_steps=4).fit(model, points(n=20))
    made = [batch.samples.detach() for batch in model.made[1:]]  # after two that were tried
    for_discriminator = [made[i] for i in range(len(made)) if i % 3 != 2]
    assert len(for_discriminator) == len(model.shown) == 8
    assert torch.equal(model.shown[0].samples, for_discriminator[0])
    for i in range(1, 8):
        shown = model.shown[i].samples
        assert torch.equal(shown[5:], for_discriminator[i][5:])
        earlier = torch.cat([batch[:5] for batch in for_discriminator[:i]])
        assert (shown[:5, None] == earlier).all(dim=2).any(dim=1).all()
    assert model.replay is not None
    assert len(model.replay) == 40


def test_loaders_batches_are_left_as_they_are(tmp_path: Path) -> None:
    data = ToyData(*((x, torch.full((20,), i)) for i, x in enumerate(points().batches)))
    before = [(x.clone(), y.clone()) for x, y in data.batches]
    model = GAN(**toy_networks(NUM_CLASSES), replay=ExperienceReplay(10, fraction=0.5))
    toy_trainer(tmp_path, max_steps=6).fit(model, data)
    for (x, y), (expected_x, expected_y) in zip(data.batches, before, strict=True):
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)


def test_only_training_is_remembered(tmp_path: Path) -> None:
    replay = ExperienceReplay()
    model = GAN(**toy_networks(), replay=replay)
    trainer = toy_trainer(tmp_path)
    trainer.validate(model, points().train_dataloader(), verbose=False)
    model.sample(5)
    assert len(replay) == 0
    trainer.fit(model, points(n=20))
    assert len(replay) == 2 * 10


def test_memory_is_saved_and_loaded(tmp_path: Path) -> None:
    model = GAN(**toy_networks(NUM_CLASSES), replay=ExperienceReplay(12))
    trainer = toy_trainer(tmp_path)
    trainer.fit(model, labelled(points()))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    path = tmp_path / "model.ckpt"
    replays: list[ExperienceReplay | None] = [ExperienceReplay(12), ExperienceReplay(3), None]
    for replay in replays:
        loaded = GAN.load_from_checkpoint(path, **toy_networks(NUM_CLASSES), replay=replay)
        assert torch.equal(flat(loaded), flat(model))
    assert model.replay is not None
    assert replays[0] is not None
    assert replays[1] is not None
    saved, state = model.replay.state(), replays[0].state()
    assert saved.keys() == state.keys() == {"seen", "samples", "labels", "latents"}
    for name, value in saved.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)
    assert len(replays[1]) == 3


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
def test_run_goes_on_in_another_precision(precision: Any, tmp_path: Path) -> None:
    for steps, options in ((2, {}), (4, {"precision": precision})):
        model = GAN(**toy_networks(), replay=ExperienceReplay(30, fraction=1.0))
        trainer = toy_trainer(tmp_path, max_steps=steps, **options)
        path = None if steps == 2 else tmp_path / "model.ckpt"
        trainer.fit(model, points(), ckpt_path=path)
        trainer.save_checkpoint(tmp_path / "model.ckpt")
    assert trainer.global_step == 4
    assert model.replay is not None
    assert model.replay.state()["samples"].dtype == model.dtype


@pytest.mark.parametrize("name", ["g", "d"])
def test_bound_on_a_gradient_must_be_positive(name: str) -> None:
    options: Any = {f"gradient_clip_val_{name}": -1.0}
    with pytest.raises(ValueError, match=f"'gradient_clip_val_{name}' to be positive or None"):
        GAN(**toy_networks(), **options)


def test_one_penalty_without_a_list_is_refused() -> None:
    penalty: Any = R1()
    with pytest.raises(TypeError, match="Expected 'penalties' to be a list, got R1"):
        GAN(**toy_networks(), penalties=penalty)


def test_refusals_come_before_the_sanity_validation(tmp_path: Path) -> None:
    data = ValidatedData(*torch.zeros(4, 10, 3))
    with pytest.raises(ValueError, match=r"make samples of the data's shape \(3,\), got \(2,\)"):
        toy_trainer(tmp_path).fit(GAN(**toy_networks()), data)


# Orders of updates


class _Norms(GAN):
    """Remembers the norm of every gradient, unscaled, as the optimisers get it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norms: list[float] = []

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        self.norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())


@pytest.mark.parametrize("updates", ["alternating", "simultaneous", "extragradient"])
def test_gradients_are_divided_by_the_loss_scale_they_were_made_with(
    updates: Any, tmp_path: Path
) -> None:
    norms = []
    for growth_interval in (1000, 1):  # the scale stays, or doubles after every step
        torch.manual_seed(0)
        model = _Norms(**toy_networks(), updates=updates, optimizer_g=sgd, optimizer_d=sgd)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=growth_interval)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        toy_trainer(tmp_path, max_steps=2, plugins=plugin).fit(model, points())
        norms.append(model.norms)
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)


@pytest.mark.parametrize("interval", [1, 2, 3, 4])
def test_lazy_penalties_take_part_in_the_step_that_counts(interval: int, tmp_path: Path) -> None:
    due = []

    class Watched(GAN):
        def discriminator_terms(self, real: Batch, fake: Batch, update: int) -> Terms:
            terms = super().discriminator_terms(real, fake, update)
            if not self.looking_ahead:
                due.append("r1" in terms)
            return terms

    model = Watched(**toy_networks(), updates="extragradient", penalties=[R1(interval=interval)])
    toy_trainer(tmp_path, max_steps=12).fit(model, points())
    assert due == [step % interval == 0 for step in range(12)]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")
def test_states_of_pieces_may_come_and_go(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    trainer.fit(GAN(**toy_networks(), penalties=[LeCam()]), points())
    trainer.save_checkpoint(tmp_path / "with.ckpt")
    GAN.load_from_checkpoint(tmp_path / "with.ckpt", **toy_networks())
    model = GAN.load_from_checkpoint(tmp_path / "with.ckpt", **toy_networks(), penalties=[LeCam()])
    [lecam] = model.penalties
    assert lecam.begun
    trainer = toy_trainer(tmp_path)
    trainer.fit(GAN(**toy_networks()), points())
    trainer.save_checkpoint(tmp_path / "without.ckpt")
    model = GAN(**toy_networks(), penalties=[LeCam()])
    toy_trainer(tmp_path, max_steps=3).fit(model, points(), ckpt_path=tmp_path / "without.ckpt")
    assert next(iter(model.penalties)).begun
