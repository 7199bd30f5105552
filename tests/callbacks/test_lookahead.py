"""Both networks going part of the way back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor, nn

from lightning_gan import GAN
from lightning_gan.callbacks import GANCheckpoint, GeneratorEMA, LookaheadMinimax
from lightning_gan.training import GANAdam, read_checkpoint
from tests.ranks import Ranks
from tests.toys import assert_same, flat, image_networks, images, points, toy_networks, toy_trainer

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")


class _Before(Callback):
    """Keep the weights and the generator's average as the optimisers left them."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.averages: list[Tensor] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(_both(pl_module))
        if pl_module.ema_generator is not None:
            self.averages.append(flat(pl_module.ema_generator))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.on_train_start(trainer, pl_module)


class _After(_Before):
    """The same, listed after the others."""


def _both(model: Any) -> Tensor:
    return torch.cat([flat(model.generator), flat(model.discriminator)])


def _model(networks: dict[str, nn.Module] | None = None, n_critic: int = 1) -> GAN:
    torch.manual_seed(0)

    def adam(parameters: Any) -> GANAdam:
        return GANAdam(parameters, lr=0.01)

    return GAN(**networks or toy_networks(), n_critic=n_critic, optimizer_g=adam, optimizer_d=adam)


@pytest.mark.parametrize(("steps", "alpha"), [(1, 0.5), (3, 0.5), (2, 0.2), (4, 1.0)])
@pytest.mark.parametrize("n_critic", [1, 2])
def test_equals_the_formula(steps: int, alpha: float, n_critic: int, tmp_path: Path) -> None:
    before, after = _Before(), _After()
    callbacks = [before, LookaheadMinimax(steps, alpha), after]
    trainer = toy_trainer(tmp_path, max_steps=8, callbacks=callbacks)
    trainer.fit(_model(n_critic=n_critic), points())
    slow = before.weights[0].double()
    for step in range(1, 9):
        fast = before.weights[step].double()
        if step % steps == 0:
            fast = slow = slow + alpha * (fast - slow)
        torch.testing.assert_close(after.weights[step].double(), fast, rtol=1e-6, atol=1e-7)
        assert torch.equal(before.weights[step], after.weights[step]) == (
            step % steps != 0 or alpha == 1
        )
    assert len({float(w.sum()) for w in before.weights}) == 9  # the training goes on from there


def test_only_weights_go_back(tmp_path: Path) -> None:
    model = _model(image_networks())
    buffers: list[dict[str, Tensor]] = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            buffers.append({k: v.clone() for k, v in pl_module.named_buffers()})

    lookahead = LookaheadMinimax(1, 0.5)
    trainer = toy_trainer(tmp_path, callbacks=[GeneratorEMA(), Look(), lookahead, Look()])
    trainer.fit(model, images())
    assert buffers[0].keys()
    for before, after in zip(buffers[::2], buffers[1::2], strict=True):
        assert_same(after, before)
    kept = lookahead.state_dict()["slow"].keys()
    assert kept == {k for k, _ in model.named_parameters() if not k.startswith("ema_generator")}


def test_average_is_of_the_weights_before_going_back(tmp_path: Path) -> None:
    before = _Before()
    callbacks = [GeneratorEMA(0.9), before, LookaheadMinimax(2)]
    model = _model()
    toy_trainer(tmp_path, max_steps=6, callbacks=callbacks).fit(model, points())
    expected = before.weights[0][: len(flat(model.generator))].double()
    for weights, average in zip(before.weights[1:], before.averages[1:], strict=True):
        expected = 0.9 * expected + 0.1 * weights[: len(expected)]
        torch.testing.assert_close(average.double(), expected, rtol=1e-6, atol=1e-6)


def _run(folder: Path, steps: int, ckpt_path: Path | None = None, **options: Any) -> Any:
    callbacks = [
        GANCheckpoint(folder, save_top_k=-1, every_n_train_steps=1),
        LookaheadMinimax(3),
        after := _After(),
    ]
    trainer = toy_trainer(
        folder, max_steps=steps, enable_checkpointing=True, callbacks=callbacks, **options
    )
    trainer.fit(_model(), points(batches=1), ckpt_path=ckpt_path)
    return after


def test_checkpoint_holds_the_weights_after_going_back(tmp_path: Path) -> None:
    after = _run(tmp_path, 3)
    saved = read_checkpoint(tmp_path / "step_00000003.ckpt")["state_dict"]
    model = _model()
    model.load_state_dict(saved)
    assert torch.equal(_both(model), after.weights[3])
    slow = read_checkpoint(tmp_path / "last.ckpt")["callbacks"]["LookaheadMinimax"]["slow"]
    assert_same(slow, {name: saved[name] for name in slow})


@pytest.mark.parametrize("step", [2, 3, 4])
def test_resume_is_exact(step: int, tmp_path: Path) -> None:
    _run(tmp_path / "whole", 7)
    path = tmp_path / "whole" / f"step_{step:08d}.ckpt"
    _run(tmp_path / "rest", 7, path)
    actual, expected = (
        read_checkpoint(tmp_path / name / "last.ckpt") for name in ("rest", "whole")
    )
    assert expected["global_step"] == 7
    for part in ("state_dict", "optimizer_states", "global_step"):
        assert_same(actual[part], expected[part], part)
    name = "LookaheadMinimax"
    assert_same(actual["callbacks"][name], expected["callbacks"][name])


def test_resume_without_memory_goes_back_to_where_it_began(tmp_path: Path) -> None:
    half = toy_trainer(tmp_path, max_steps=3)
    half.fit(_model(), points(batches=1))
    half.save_checkpoint(tmp_path / "half.ckpt")
    before, after = _Before(), _After()
    callbacks = [before, LookaheadMinimax(4), after]
    toy_trainer(tmp_path, max_steps=4, callbacks=callbacks).fit(
        _model(), points(batches=1), ckpt_path=tmp_path / "half.ckpt"
    )
    middle = (before.weights[0] + before.weights[1]) / 2
    torch.testing.assert_close(after.weights[1], middle, rtol=1e-6, atol=1e-7)


def test_second_run_forgets_the_first(tmp_path: Path) -> None:
    before, lookahead, after = _Before(), LookaheadMinimax(3), _After()
    model = _model()
    for steps in (2, 3):
        callbacks = [before, lookahead, after]
        toy_trainer(tmp_path, max_steps=steps, callbacks=callbacks).fit(model, points(batches=1))
    assert torch.equal(after.weights[3], after.weights[2])  # where the second run began
    middle = (before.weights[3] + before.weights[-1]) / 2
    torch.testing.assert_close(after.weights[-1], middle, rtol=1e-6, atol=1e-7)


def _weights_of_rank(rank: int, folder: Path) -> tuple[Tensor, Tensor]:
    lookahead = LookaheadMinimax(2)
    model = _model()
    trainer = toy_trainer(folder, max_steps=5, callbacks=[lookahead], strategy="ddp", devices=2)
    torch.manual_seed(rank)
    data = points()
    data.batches = [torch.randn(20, 2) for _ in range(4)]  # of each rank its own
    trainer.fit(model, data)
    slow = torch.cat([weight.flatten() for weight in lookahead.state_dict()["slow"].values()])
    return _both(model), slow


def test_both_ranks_go_back_alike(ranks: Ranks, tmp_path: Path) -> None:
    first, second = ranks.run(_weights_of_rank, tmp_path)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(*first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "Expected 'steps' to be at least 1, got 0"),
        ({"alpha": 0.0}, r"Expected 'alpha' to be in \(0, 1\], got 0.0"),
        ({"alpha": 1.5}, r"Expected 'alpha' to be in \(0, 1\], got 1.5"),
        ({"alpha": float("nan")}, r"Expected 'alpha' to be in \(0, 1\], got nan"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LookaheadMinimax(**options)


def test_foreign_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model of lightning_gan, got BoringModel"):
        toy_trainer(tmp_path, callbacks=[LookaheadMinimax()]).fit(BoringModel())
