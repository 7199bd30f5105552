"""The running average of the generator's weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from lightning_gan import GAN
from lightning_gan.callbacks import GeneratorEMA, SampleGrid
from lightning_gan.gans import AdversarialModule
from lightning_gan.training import LinearSchedule, Schedule, read_checkpoint
from tests.ranks import Ranks
from tests.toys import (
    ToyData,
    flat,
    image_networks,
    images,
    points,
    sgd,
    toy_networks,
    toy_trainer,
)


class _Recorder(Callback):
    """Keep the weights and their average, before training and after each iteration."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.averages: list[Tensor] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(flat(pl_module.generator))
        self.averages.append(flat(pl_module.ema_generator))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.on_train_start(trainer, pl_module)


def _model(networks: dict[str, nn.Module] | None = None, n_critic: int = 1) -> GAN:
    factories: Any = {"optimizer_g": sgd, "optimizer_d": sgd}
    return GAN(**networks or toy_networks(), n_critic=n_critic, **factories)


def _averages(weights: list[Tensor], decay: float, start: int = 0) -> list[Tensor]:
    """Average in the way of the formula, in a plain loop."""
    averages = [weights[0].double()]
    for update, new in enumerate(weights[1:], start=1):
        copied = update <= start
        averages.append(new.double() if copied else decay * averages[-1] + (1 - decay) * new)
    return averages


def _assert_follows(recorder: _Recorder, expected: list[Tensor]) -> None:
    for actual, oracle in zip(recorder.averages, expected, strict=True):
        torch.testing.assert_close(actual.double(), oracle, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_critic", [1, 3])
@pytest.mark.parametrize(("decay", "start"), [(0.5, 0), (0.9, 0), (0.999, 0), (0.5, 1), (0.9, 4)])
def test_equals_the_formula(n_critic: int, decay: float, start: int, tmp_path: Path) -> None:
    recorder = _Recorder()
    trainer = toy_trainer(tmp_path, max_steps=8, callbacks=[GeneratorEMA(decay, start), recorder])
    trainer.fit(_model(n_critic=n_critic), points())
    assert len(recorder.weights) == 9
    _assert_follows(recorder, _averages(recorder.weights, decay, start))
    for update, pair in enumerate(zip(recorder.weights, recorder.averages, strict=True)):
        assert torch.equal(*pair) == (update <= start)


def test_decay_zero_is_the_generator(tmp_path: Path) -> None:
    recorder = _Recorder()
    trainer = toy_trainer(tmp_path, max_steps=4, callbacks=[GeneratorEMA(0.0), recorder])
    trainer.fit(_model(n_critic=3), points())
    assert all(map(torch.equal, recorder.averages, recorder.weights))
    assert not torch.equal(recorder.weights[0], recorder.weights[-1])


def test_buffers_are_copied(tmp_path: Path) -> None:
    model = _model(image_networks())
    before = {name: value.clone() for name, value in model.generator.named_buffers()}
    toy_trainer(tmp_path, callbacks=[GeneratorEMA()]).fit(model, images())
    assert model.ema_generator is not None
    averaged = dict(model.ema_generator.named_buffers())
    assert averaged
    for name, value in model.generator.named_buffers():
        assert torch.equal(averaged[name], value)
        assert not torch.equal(averaged[name], before[name])
        assert averaged[name] is not value


def test_average_is_frozen_and_in_no_optimizer(tmp_path: Path) -> None:
    model = _model(image_networks())
    trainer = toy_trainer(tmp_path, callbacks=[GeneratorEMA()])
    trainer.fit(model, images())
    assert model.ema_generator is not None
    averaged = list(model.ema_generator.parameters())
    assert not any(p.requires_grad for p in averaged)
    assert all(p.grad is None for p in averaged)
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    trained = {id(p) for group in groups for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    assert trained.isdisjoint(map(id, averaged))


def test_training_is_the_same_with_an_average(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [GeneratorEMA(0.9)]):
        torch.manual_seed(0)
        model = _model(image_networks())
        toy_trainer(tmp_path, max_steps=5, callbacks=callbacks).fit(model, images())
        weights.append(torch.cat([flat(model.generator), flat(model.discriminator)]))
    assert torch.equal(*weights)


def _train_and_save(folder: Path, *callbacks: Callback, steps: int = 3) -> tuple[GAN, Path]:
    model = _model()
    trainer = toy_trainer(folder, max_steps=steps, callbacks=list(callbacks))
    trainer.fit(model, points(batches=1))
    path = folder / "saved.ckpt"
    trainer.save_checkpoint(path)
    return model, path


def test_average_is_in_the_checkpoint(tmp_path: Path) -> None:
    model, path = _train_and_save(tmp_path, GeneratorEMA(0.5))
    assert model.ema_generator is not None
    saved = read_checkpoint(path)["state_dict"]
    for name, value in model.ema_generator.state_dict().items():
        assert torch.equal(saved[f"ema_generator.{name}"], value)


def test_resume_takes_up_the_average(tmp_path: Path) -> None:
    whole = _Recorder()
    toy_trainer(tmp_path, max_steps=5, callbacks=[GeneratorEMA(0.5, 4), whole]).fit(
        _model_of_seed(), points(batches=1)
    )
    for step in (2, 3):
        half = toy_trainer(tmp_path, max_steps=step, callbacks=[GeneratorEMA(0.5, 4)])
        half.fit(_model_of_seed(), points(batches=1))
        half.save_checkpoint(tmp_path / "half.ckpt")
        rest = _Recorder()
        torch.manual_seed(99)
        toy_trainer(tmp_path, max_steps=5, callbacks=[GeneratorEMA(0.5, 4), rest]).fit(
            _model(), points(batches=1), ckpt_path=tmp_path / "half.ckpt"
        )
        assert all(map(torch.equal, rest.averages, whole.averages[step:]))
        assert len(rest.averages) == 6 - step


def _model_of_seed() -> GAN:
    torch.manual_seed(0)
    return _model()


def test_resume_without_an_average_starts_one_from_the_generator(tmp_path: Path) -> None:
    trained, path = _train_and_save(tmp_path)
    assert not any("ema" in key for key in read_checkpoint(path)["state_dict"])
    torch.manual_seed(7)
    model, recorder = _model(), _Recorder()
    trainer = toy_trainer(tmp_path, max_steps=6, callbacks=[GeneratorEMA(0.9), recorder])
    trainer.fit(model, points(batches=1), ckpt_path=path)
    assert torch.equal(recorder.averages[0], flat(trained.generator))
    assert len(recorder.averages) == 4
    _assert_follows(recorder, _averages(recorder.weights, 0.9))


def test_loaded_model_samples_from_the_average(tmp_path: Path) -> None:
    model, path = _train_and_save(tmp_path, GeneratorEMA(0.9))
    loaded = GAN.load_from_checkpoint(path, **toy_networks())
    latents = torch.randn(10, 2)
    assert model.ema_generator is not None
    with torch.no_grad():
        averaged, current = model.ema_generator(latents), model.generator(latents)
    assert torch.equal(loaded.render(latents), averaged)
    assert not torch.equal(averaged, current)


def _average_of_rank(rank: int, folder: Path) -> tuple[Tensor, Tensor, bool]:
    torch.manual_seed(0)
    model, recorder = _model(image_networks(), n_critic=2), _Recorder()
    callbacks = [GeneratorEMA(0.8), recorder]
    trainer = toy_trainer(folder, max_steps=4, callbacks=callbacks, strategy="ddp", devices=2)
    torch.manual_seed(rank)
    data = images()
    data.batches = [torch.rand(10, 1, 8, 8) * 2 - 1 for _ in range(4)]  # of each rank its own
    trainer.fit(model, data)
    _assert_follows(recorder, _averages(recorder.weights, 0.8))
    assert model.ema_generator is not None
    state = torch.cat([v.flatten().double() for v in model.ema_generator.state_dict().values()])
    moved = not torch.equal(recorder.averages[0], recorder.averages[-1])
    return recorder.averages[-1], state, moved


def test_both_ranks_have_the_same_average(ranks: Ranks, tmp_path: Path) -> None:
    first, second = ranks.run(_average_of_rank, tmp_path)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])  # buffers, too
    assert first[2]


def test_skipped_steps_do_not_count(tmp_path: Path) -> None:
    model, recorder = _model(), _Recorder()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)  # overflows at first, then is halved
    trainer = toy_trainer(
        tmp_path,
        max_steps=16,
        callbacks=[GeneratorEMA(0.5), recorder],
        plugins=MixedPrecision("16-mixed", "cpu", scaler),
    )
    trainer.fit(model, points())
    pairs = zip(recorder.weights[1:], recorder.weights, strict=False)
    taken = [not torch.equal(new, old) for new, old in pairs]
    assert 0 < sum(taken) < len(taken)
    assert not taken[0]  # which would otherwise be averaged with itself
    for i, step_taken in enumerate(taken):
        assert torch.equal(recorder.averages[i], recorder.averages[i + 1]) != step_taken
    first = taken.index(True)
    expected = [recorder.weights[0].double()] * first + _averages(recorder.weights[first:], 0.5)
    _assert_follows(recorder, expected)


def test_overflow_between_steps_does_not_count(tmp_path: Path) -> None:
    """Once the average lags behind, averaging again with unchanged weights would move it."""
    model, recorder = _model(), _Recorder()
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)

    class Overflow(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                scaler.update(2.0**40)

    trainer = toy_trainer(
        tmp_path,
        max_steps=4,
        log_every_n_steps=10,
        callbacks=[GeneratorEMA(0.5), recorder, Overflow()],
        plugins=MixedPrecision("16-mixed", "cpu", scaler),
    )
    trainer.fit(model, points())
    assert torch.equal(recorder.weights[3], recorder.weights[4])
    assert not torch.equal(recorder.weights[2], recorder.weights[3])
    assert not torch.equal(recorder.averages[3], recorder.weights[3])
    assert torch.equal(recorder.averages[3], recorder.averages[4])


def test_order_of_callbacks_does_not_matter(tmp_path: Path) -> None:
    pictures = []
    for first in (True, False):
        torch.manual_seed(0)
        folder = tmp_path / str(first)
        average, grid = GeneratorEMA(0.9), SampleGrid(1, 4, dirpath=folder, fps=0)
        callbacks = [average, grid] if first else [grid, average]
        toy_trainer(tmp_path, max_steps=3, callbacks=callbacks).fit(
            _model(image_networks()), images()
        )
        pictures.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert pictures[0] == pictures[1]
    assert len({*pictures[0].values()}) == len(pictures[0]) == 5


def test_evaluation_makes_no_average(tmp_path: Path) -> None:
    model: AdversarialModule = _model()
    loader = points().train_dataloader()
    toy_trainer(tmp_path, callbacks=[GeneratorEMA()]).validate(model, loader, verbose=False)
    assert model.ema_generator is None


def test_hook_is_gone_after_training(tmp_path: Path) -> None:
    model = _model()
    trainer = toy_trainer(tmp_path, callbacks=[GeneratorEMA(0.5)])
    trainer.fit(model, points())
    assert model.ema_generator is not None
    before = flat(model.ema_generator)
    for p in model.generator.parameters():
        p.grad = torch.ones_like(p)
    trainer.optimizers[0].step()
    assert torch.equal(flat(model.ema_generator), before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"Expected 'decay' in \[0, 1\), got "):
        GeneratorEMA(decay)


def test_bad_start_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 'start' to be non-negative, got -1"):
        GeneratorEMA(start=-1)


def test_foreign_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model of lightning_gan, got BoringModel"):
        toy_trainer(tmp_path, callbacks=[GeneratorEMA()]).fit(BoringModel())


def test_half_precision_weights_are_refused(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, precision="bf16-true", callbacks=[GeneratorEMA()])
    with pytest.raises(ValueError, match=r"GeneratorEMA\(decay=0.999\), got torch.bfloat16"):
        trainer.fit(GAN(**toy_networks()), points())


def test_average_that_nothing_goes_on_with_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    trainer = toy_trainer(tmp_path, callbacks=[GeneratorEMA()])
    trainer.fit(GAN(**toy_networks()), points(batches=2))
    trainer.save_checkpoint(path)
    model = GAN(**toy_networks())
    with pytest.warns(UserWarning, match="averaged generator is dropped"):
        toy_trainer(tmp_path, max_steps=4).fit(model, points(batches=2), ckpt_path=path)
    assert model.ema_generator is None


# Half-lives


def test_half_life_follows_the_images_of_each_iteration(tmp_path: Path) -> None:
    """After n images of a half-life h, an old weight counts 2^(-n/h)."""
    recorder = _Recorder()
    trainer = toy_trainer(tmp_path, max_steps=3, callbacks=[GeneratorEMA(half_life=20), recorder])
    trainer.fit(_model(), ToyData(*(torch.randn(n, 2) for n in (20, 40, 10))))
    averages = [recorder.weights[0].double()]
    for old, new in zip((0.5, 0.25, 0.5**0.5), recorder.weights[1:], strict=True):
        averages.append(old * averages[-1] + (1 - old) * new)
    _assert_follows(recorder, averages)


def test_half_life_is_what_it_says(tmp_path: Path) -> None:
    """Of a start that is far from all that follows, half is left after as many images."""
    for n in (10, 20, 40):
        model = GAN(**toy_networks(), optimizer_g=lambda p: torch.optim.SGD(p, lr=0.0))
        callbacks = [GeneratorEMA(half_life=80), _Displaced()]
        toy_trainer(tmp_path, max_steps=80 // n, callbacks=callbacks).fit(model, points(n=n))
        assert model.ema_generator is not None
        moved = flat(model.ema_generator) - flat(model.generator)
        torch.testing.assert_close(moved, torch.full_like(moved, 50.0), rtol=1e-4, atol=0)


class _Displaced(Callback):
    """Begin with an average that is elsewhere."""

    @torch.no_grad()
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for parameter in pl_module.ema_generator.parameters():
            parameter.add_(100)


def test_scheduled_half_life(tmp_path: Path) -> None:
    recorder = _Recorder()
    half_life = LinearSchedule(0.0, 80.0, images=80)
    trainer = toy_trainer(
        tmp_path, max_steps=6, callbacks=[GeneratorEMA(half_life=half_life), recorder]
    )
    trainer.fit(_model(n_critic=2), points(n=20))
    averages = [recorder.weights[0].double()]
    for step, new in enumerate(recorder.weights[1:]):
        old = 0.0 if step == 0 else 2 ** (-20 / min(20 * step, 80))
        averages.append(old * averages[-1] + (1 - old) * new)
    _assert_follows(recorder, averages)


@pytest.mark.parametrize("half_life", [0.0, LinearSchedule(0.0, 0.0, images=1)])
def test_half_life_of_nothing_copies(half_life: float | Schedule, tmp_path: Path) -> None:
    recorder = _Recorder()
    callbacks = [GeneratorEMA(half_life=half_life), recorder]
    toy_trainer(tmp_path, max_steps=3, callbacks=callbacks).fit(_model(), points())
    assert all(map(torch.equal, recorder.averages, recorder.weights))


def test_half_life_begins_after_the_start(tmp_path: Path) -> None:
    recorder = _Recorder()
    callbacks = [GeneratorEMA(start=2, half_life=20), recorder]
    toy_trainer(tmp_path, max_steps=5, callbacks=callbacks).fit(_model(), points(n=20))
    _assert_follows(recorder, _averages(recorder.weights, 0.5, start=2))


def _decays_of_rank(rank: int, folder: Path) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    model, recorder = _model(), _Recorder()
    callbacks = [GeneratorEMA(half_life=40), recorder]
    trainer = toy_trainer(folder, max_steps=3, callbacks=callbacks, strategy="ddp", devices=2)
    trainer.fit(model, points(n=20))
    return torch.stack(recorder.weights), torch.stack(recorder.averages)


def test_images_of_all_processes_count(ranks: Ranks, tmp_path: Path) -> None:
    for weights, averages in ranks.run(_decays_of_rank, tmp_path):
        expected = torch.stack(_averages(list(weights), 0.5))
        torch.testing.assert_close(averages.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half_life", [-1.0, float("nan"), LinearSchedule(1.0, -1.0, images=5)])
def test_bad_half_life_is_refused(half_life: Any) -> None:
    with pytest.raises(ValueError, match="Expected 'half_life' to be non-negative and finite, got"):
        GeneratorEMA(half_life=half_life)


@pytest.mark.parametrize(("decay", "half_life", "refused"), [(0.0, 9.0, True), (0.9, 0.0, False)])
def test_half_precision_under_half_lives(
    decay: float, half_life: float, refused: bool, tmp_path: Path
) -> None:
    callbacks = [GeneratorEMA(decay, half_life=half_life)]
    trainer = toy_trainer(tmp_path, precision="bf16-true", callbacks=callbacks)
    try:
        trainer.fit(GAN(**toy_networks()), points())
    except ValueError:
        assert refused
    else:
        assert not refused


# Steps that are taken back


def test_looking_ahead_does_not_count(tmp_path: Path) -> None:
    recorder = _Recorder()
    model = GAN(**toy_networks(), updates="extragradient", optimizer_g=sgd, optimizer_d=sgd)
    steps: list[bool] = []

    class Watch(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            hook = lambda *_: steps.append(pl_module.looking_ahead)  # noqa: E731
            trainer.optimizers[0].register_step_post_hook(hook)

    callbacks = [GeneratorEMA(0.5), recorder, Watch()]
    toy_trainer(tmp_path, max_steps=4, callbacks=callbacks).fit(model, points())
    assert steps == [True, False] * 4
    _assert_follows(recorder, _averages(recorder.weights, 0.5))


def test_half_life_counts_both_batches_of_extragradient(tmp_path: Path) -> None:
    recorder = _Recorder()
    model = GAN(**toy_networks(), updates="extragradient", optimizer_g=sgd, optimizer_d=sgd)
    callbacks = [GeneratorEMA(half_life=20), recorder]
    toy_trainer(tmp_path, max_steps=3, callbacks=callbacks).fit(model, points(n=20))
    _assert_follows(recorder, _averages(recorder.weights, 0.5))
