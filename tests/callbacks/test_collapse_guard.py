"""What is done about alarms and verdicts."""

import re
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from lightning_gan import GAN, WGAN
from lightning_gan.callbacks import (
    CollapseGuard,
    Diagnostics,
    Evaluation,
    GANCheckpoint,
    GeneratorEMA,
    LookaheadMinimax,
)
from lightning_gan.callbacks import diagnostics as module
from lightning_gan.callbacks.curves import Evaluated
from lightning_gan.cli import main
from lightning_gan.diagnostics.signs import NAMES
from lightning_gan.metrics import Report
from lightning_gan.networks import Growing, MLPDiscriminator, MLPGenerator
from lightning_gan.training import (
    ExperienceReplay,
    GANAdam,
    LeCam,
    LinearSchedule,
    read_checkpoint,
)
from tests.ranks import Ranks
from tests.test_cli import points_run
from tests.toys import ValidatedData, assert_same, flat, points, toy_networks, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:After"),  # alarms, and what is done about them
]

COLLAPSE = "samples collapse"


class Ill:
    """A probe that finds what it is told at certain iterations."""

    def __init__(self, steps: Any) -> None:
        self.steps = set(steps)

    def __call__(self, model: Any, real: Any, held_out: Any = None) -> dict[str, float]:
        ill = model.trainer.global_step in self.steps
        return {"diversity": 0.01 if ill else 1.0, "duplicates": 0.0}


class Look(Callback):
    """Keep the weights and the steps' sizes."""

    def __init__(self) -> None:
        self.weights: dict[int, Tensor] = {}
        self.rates: dict[int, list[float]] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.on_train_batch_end(trainer, pl_module)
        for optimizer in trainer.optimizers:
            optimizer.register_step_pre_hook(lambda o, *_: self._note(trainer, o))

    def _note(self, trainer: Any, optimizer: Any) -> None:
        rates = self.rates.setdefault(trainer.global_step, [])
        rates.append(float(optimizer.param_groups[0]["lr"]))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.weights[trainer.global_step] = flat(pl_module)


def adam(rate: Any) -> Any:
    return lambda parameters: GANAdam(parameters, lr=rate)


def seeded(**options: Any) -> GAN:
    torch.manual_seed(0)
    options = {"optimizer_g": adam(0.01), "optimizer_d": adam(0.01)} | options
    return GAN(**toy_networks(), **options)


def quick(**options: Any) -> Diagnostics:
    """Return one that measures each iteration, and is alarmed by the second of a kind."""
    return Diagnostics(1, None, patience=2, grace=0, **options)


def guard(**options: Any) -> CollapseGuard:
    defaults: dict[str, Any] = {"on": [COLLAPSE], "action": "roll_back", "every_n_steps": 1}
    return CollapseGuard(**defaults | options)


def fit(folder: Path, model: GAN, *callbacks: Callback, steps: int = 8, **options: Any) -> Look:
    look = Look()
    ckpt_path = options.pop("ckpt_path", None)
    trainer = toy_trainer(folder, max_steps=steps, callbacks=[*callbacks, look], **options)
    trainer.fit(model, points(batches=1), ckpt_path=ckpt_path)
    return look


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_diagnosis", lambda *_: None)  # slow


@pytest.fixture
def ill(monkeypatch: pytest.MonkeyPatch) -> Any:
    def be(*steps: int) -> None:
        monkeypatch.setattr(module, "probe", Ill(steps))

    return be


@pytest.mark.parametrize(("sick", "back"), [((7, 8), 4), ((3, 4), 0), ((1, 2), 0), ((3, 6, 7), 4)])
def test_goes_back_to_a_point_that_stayed_healthy(
    sick: tuple[int, ...], back: int, ill: Any, tmp_path: Path
) -> None:
    ill(*sick)
    now = sick[-1]
    with pytest.warns(UserWarning, match=rf"After {now} .*\({COLLAPSE}\).* of iteration {back},"):
        look = fit(tmp_path, seeded(), quick(), own := guard(), steps=9)
    assert torch.equal(look.weights[now], look.weights[back])
    assert not torch.equal(look.weights[now + 1], look.weights[back + 1])  # other latents follow
    assert own.rate_factor == 0.5


def test_all_that_is_learnt_goes_back_and_the_time_goes_on(ill: Any, tmp_path: Path) -> None:
    ill(6, 7)
    model = seeded(replay=ExperienceReplay(capacity=8), penalties=[LeCam()])
    slow = LookaheadMinimax(3)
    callbacks = [GeneratorEMA(0.5), slow, quick(), guard(every_n_steps=4)]
    trainer = toy_trainer(tmp_path, max_steps=7, callbacks=callbacks)
    trainer.fit(model, points(batches=1))
    assert (trainer.global_step, model.images_seen) == (7, 7 * 20)
    saved = read_checkpoint(tmp_path / "guard" / "step_00000004.ckpt")
    assert saved["global_step"] == 4
    assert any(name.startswith("ema_generator.") for name in saved["state_dict"])
    assert any(name.startswith("penalties.") for name in saved["state_dict"])
    assert_same(dict(model.state_dict()), dict(saved["state_dict"]))
    moments = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    assert_same(moments, [states["state"] for states in saved["optimizer_states"]])
    assert model.replay is not None
    assert_same(model.replay.state(), saved["lightning_gan"]["replay"])
    assert_same(slow.state_dict(), saved["callbacks"]["LookaheadMinimax"])


def test_lookahead_that_joined_later_goes_on_from_the_weights_that_came_back(
    ill: Any, tmp_path: Path
) -> None:
    ill()
    first = toy_trainer(tmp_path, max_steps=4, callbacks=[quick(), guard(every_n_steps=2)])
    first.fit(seeded(), points(batches=1))
    first.save_checkpoint(half := tmp_path / "half.ckpt", weights_only=False)
    ill(5, 6)
    slow = LookaheadMinimax(3)
    callbacks = (slow, quick(), guard(every_n_steps=2))
    fit(tmp_path, model := seeded(), *callbacks, steps=6, ckpt_path=half)
    back = read_checkpoint(tmp_path / "guard" / "step_00000002.ckpt")
    assert_same(dict(model.state_dict()), dict(back["state_dict"]))
    kept = dict(slow.state_dict()["slow"])
    assert_same(kept, {name: p.detach() for name, p in model.named_parameters()})


def _constant(step: int) -> float:
    return 0.01


def _linear(step: int) -> float:
    return 0.01 * (1 - step / 10)


def _stairs(step: int) -> float:
    return 0.01 * 0.5 ** (step // 3)


RATES: dict[str, tuple[dict[str, Any], Any]] = {
    "constant": ({}, _constant),
    "schedule": ({"optimizer_d": adam(LinearSchedule(0.01, 0.0, images=200))}, _linear),
    "scheduler": ({"lr_scheduler_d": lambda o: StepLR(o, 3, 0.5)}, _stairs),
}


@pytest.mark.parametrize("kind", RATES)
def test_rates_are_multiplied_whatever_sets_them(kind: str, ill: Any, tmp_path: Path) -> None:
    ill(3, 4, 6, 7)
    options, expected = RATES[kind]
    look = fit(tmp_path, seeded(**options), quick(), guard(factor=0.1), steps=9)
    for step in range(9):
        share = 1.0 if step < 4 else 0.1 if step < 7 else 0.01
        d, g = look.rates[step]
        assert (g, d) == pytest.approx((share * 0.01, share * expected(step)))


def _whole(folder: Path, ckpt_path: Path | None = None) -> Look:
    saves = GANCheckpoint(folder / "checkpoints", save_top_k=-1, every_n_train_steps=1)
    callbacks = [GeneratorEMA(0.5), quick(), guard(every_n_steps=2), saves]
    model = seeded(optimizer_d=adam(LinearSchedule(0.01, 0.0, images=200)))
    options: dict[str, Any] = {"enable_checkpointing": True, "ckpt_path": ckpt_path}
    return fit(folder, model, *callbacks, **options)


@pytest.mark.parametrize("step", [3, 5])
def test_resume_is_exact(step: int, ill: Any, tmp_path: Path) -> None:
    ill(5, 6)
    _whole(tmp_path / "whole")
    look = _whole(tmp_path / "rest", tmp_path / "whole/checkpoints" / f"step_{step:08d}.ckpt")
    assert look.rates[7] == pytest.approx([0.005 * 0.3, 0.005])
    actual, expected = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("rest", "whole")
    )
    assert expected["global_step"] == 8
    for part in ("state_dict", "optimizer_states", "lightning_gan", "lr_schedulers"):
        assert_same(actual[part], expected[part], part)
    assert_same(actual["callbacks"]["Diagnostics"], expected["callbacks"]["Diagnostics"])


def test_resume_without_the_points_begins_with_its_start(ill: Any, tmp_path: Path) -> None:
    ill(7, 8)
    _whole(tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / "guard")
    ill(6, 7)
    look = _whole(tmp_path / "rest", tmp_path / "whole/checkpoints/step_00000003.ckpt")
    assert torch.equal(look.weights[7], look.weights[3])


def test_a_point_is_an_ordinary_checkpoint(ill: Any, tmp_path: Path) -> None:
    ill()
    look = fit(tmp_path, seeded(), quick(), guard(every_n_steps=4), steps=9)
    again = tmp_path / "again"
    path = tmp_path / "guard" / "step_00000004.ckpt"
    other = fit(again, seeded(), quick(), guard(every_n_steps=4), steps=9, ckpt_path=path)
    assert torch.equal(other.weights[9], look.weights[9])


def test_only_points_that_may_be_needed_are_kept(ill: Any, tmp_path: Path) -> None:
    ill(8)
    fit(tmp_path, seeded(), quick(), guard(every_n_steps=3), steps=12)
    assert {path.name for path in (tmp_path / "guard").iterdir()} == {
        f"step_{step:08d}.ckpt" for step in (9, 12)
    }


def test_gives_up_after_some_times(ill: Any, tmp_path: Path) -> None:
    ill(*range(1, 20))
    with pytest.warns(UserWarning, match="training stops: it has gone back 2 times"):
        look = fit(tmp_path, seeded(), quick(), own := guard(most=2), steps=20)
    assert max(look.weights) == 6
    assert own.rate_factor == 0.25


def test_stops_where_it_knows_no_healthy_point(ill: Any, tmp_path: Path) -> None:
    half = toy_trainer(tmp_path, max_steps=3)
    half.fit(seeded(), points(batches=1))
    half.save_checkpoint(tmp_path / "half.ckpt")
    ill(4, 5)
    with pytest.warns(UserWarning, match="training stops: there is no healthy point"):
        look = fit(tmp_path, seeded(), quick(), guard(), ckpt_path=tmp_path / "half.ckpt")
    assert max(look.weights) == 5


def test_stops_if_asked_to(ill: Any, tmp_path: Path) -> None:
    ill(3, 4)
    with pytest.warns(UserWarning, match=rf"After 4 .*\({COLLAPSE}\) the training stops\."):
        look = fit(tmp_path, seeded(), quick(), guard(action="stop"))
    assert max(look.weights) == 4
    assert not (tmp_path / "guard").exists()


def test_without_alarms_of_its_own_it_does_nothing(ill: Any, tmp_path: Path) -> None:
    ill(3, 4)
    look = fit(tmp_path / "a", seeded(), quick(), guard(on=["exploding gradient"], action="stop"))
    other = fit(tmp_path / "b", seeded(), CollapseGuard())
    assert max(look.weights) == max(other.weights) == 8
    assert torch.equal(look.weights[8], other.weights[8])


def test_alarms_raised_before_it_joined_are_named(ill: Any, tmp_path: Path) -> None:
    ill(*range(2, 9))
    half = toy_trainer(tmp_path / "a", max_steps=4, callbacks=[quick()])
    half.fit(seeded(), points(batches=1))
    half.save_checkpoint(tmp_path / "half.ckpt")
    with pytest.warns(UserWarning, match=rf"\['{COLLAPSE}'\] .* raised before this start"):
        fit(tmp_path, seeded(), quick(), guard(action="stop"), ckpt_path=tmp_path / "half.ckpt")


IDLE = [
    *("discriminator overfits", "weights at the bound"),
    *("discriminator too steep", "unstable equilibrium"),
]


def test_alarms_that_cannot_be_raised_are_named(ill: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=f"got {re.escape(str(IDLE))}, whose figures are not"):
        fit(tmp_path, seeded(), quick(), guard(on=[COLLAPSE, *IDLE]))


def test_alarms_that_can_be_raised_are_not(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model = WGAN(MLPGenerator(1, hidden=(2,)), MLPDiscriminator(hidden=(2,)), n_critic=1)
    watch = Diagnostics(1, 1, eigenvalues_every_n_steps=1)
    held_out = ValidatedData(*points(batches=1).batches)
    toy_trainer(tmp_path, max_steps=2, callbacks=[watch, guard(on=NAMES)]).fit(model, held_out)
    assert not [one for one in recwarn if "CollapseGuard" in str(one.message)]


def test_leaves_a_dry_run_alone(ill: Any, tmp_path: Path) -> None:
    fit(tmp_path, seeded(), quick(), guard(), fast_dev_run=True)
    assert not (tmp_path / "guard").exists()


def test_points_of_another_resolution_are_forgotten(ill: Any, tmp_path: Path) -> None:
    ill(7, 8)
    model = seeded()
    model.grows = part = Growing((4, 8))
    grow = LambdaCallback(
        on_train_batch_start=lambda trainer, *_: part.grow(4 if trainer.global_step < 4 else 8)
    )
    look = fit(tmp_path, model, grow, quick(), guard(), steps=8)
    assert torch.equal(look.weights[8], look.weights[5])  # and not 4, which else is kept


class Judged(Evaluation):
    """Finds a severe verdict at certain iterations."""

    def __init__(self, *severe: int) -> None:
        super().__init__(every_n_steps=1, patience=2, grace=1)
        self.severe = severe

    def setup(self, *_: Any, **__: Any) -> None: ...
    def on_train_start(self, *_: Any, **__: Any) -> None: ...
    def on_train_end(self, *_: Any, **__: Any) -> None: ...

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        step = trainer.global_step
        severity = 0.9 if step in self.severe else 0.2
        self._history.append(Evaluated(step, {}, "mode dropping", severity))
        self.report = Report({}, {}, "mode dropping", severity=severity)


@pytest.mark.parametrize(("severe", "end"), [((4, 5), 5), ((1, 2, 4), 8), ((1, 2, 3), 3)])
def test_severe_verdicts_count_in_succession_after_the_grace(
    severe: tuple[int, ...], end: int, tmp_path: Path
) -> None:
    stop = CollapseGuard(["mode dropping"])
    look = fit(tmp_path, seeded(), Judged(*severe), stop)
    assert max(look.weights) == end


class Seldom(Judged):
    """Evaluates the untrained generator, and then every fourth iteration."""

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        super().on_train_batch_end(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        if trainer.global_step % 4 == 0:
            super().on_train_batch_end(trainer)


def test_the_start_is_kept_until_a_verdict_can_have_led_past_it(tmp_path: Path) -> None:
    look = fit(tmp_path, seeded(), Seldom(4, 8), guard(on=["mode dropping"]))
    assert torch.equal(look.weights[8], look.weights[0])


def test_goes_back_on_a_verdict(tmp_path: Path) -> None:
    look = fit(tmp_path, seeded(), Judged(6, 7), guard(on=["mode dropping"]))
    assert torch.equal(look.weights[7], look.weights[3])


def _on_rank(rank: int, folder: Path) -> tuple[Tensor, Tensor, list[float]]:
    with (
        patch.object(module, "probe", Ill([6, 7])),
        patch.object(module, "write_diagnosis"),
    ):
        options: dict[str, Any] = {"strategy": "ddp", "devices": 2}
        look = fit(folder, seeded(), quick(), guard(), **options)
    return look.weights[4], look.weights[7], look.rates[7]


def test_both_ranks_go_back_alike(ranks: Ranks, tmp_path: Path) -> None:
    first, second = ranks.run(_on_rank, tmp_path)
    assert torch.equal(first[0], first[1])
    assert_same(first, second)
    assert first[2] == [0.005, 0.005]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": ["collapse"]}, "Expected 'on' to be"),
        ({"action": "restart"}, "Expected 'action' to be"),
        ({"factor": 0.0}, r"Expected 'factor' to be in \(0, 1\], got 0.0"),
        ({"factor": 2.0}, r"Expected 'factor' to be in \(0, 1\], got 2.0"),
        ({"most": 0}, "Expected 'most' to be at least 1, got 0"),
        ({"every_n_steps": 0}, "Expected 'every_n_steps' to be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CollapseGuard(**options)


@pytest.mark.parametrize(
    ("callbacks", "kind"),
    [
        (lambda: [guard()], "Diagnostics"),
        (lambda: [guard(), quick()], "Diagnostics"),
        (lambda: [Diagnostics(None), guard()], "Diagnostics"),
        (lambda: [quick(), guard(on=["mode dropping"])], "Evaluation"),
        (lambda: [Evaluation(), guard(on=["mode dropping"])], "Evaluation"),
    ],
)
def test_what_it_heeds_must_run_before_it(callbacks: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"Expected an active '{kind}' before CollapseGuard"):
        fit(tmp_path, seeded(), *callbacks())


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        *("--diagnostics.every_n_steps=1", "--diagnostics.grace=0", "--diagnostics.patience=1"),
        *('--diagnostics.thresholds={"diversity": 1e9}', "--guard.most=1"),
        *(f'--guard.on=["{COLLAPSE}"]', "--guard.action=roll_back"),
    ]
    with pytest.warns(UserWarning, match="the training stops: it has gone back 1 times"):
        main(points_run(tmp_path, "GAN", *arguments))
    assert (tmp_path / "version_0" / "guard" / "step_00000000.ckpt").exists()
    assert (tmp_path / "version_0" / "checkpoints" / "last.ckpt").exists()


def test_figures_of_weights_that_are_gone_are_withdrawn() -> None:
    evaluation = Evaluation(every_n_steps=1)
    evaluation.load_state_dict({"history": [(5, {}, None, None), (6, {}, "garbage", 1.0)]})
    evaluation.withdraw(5)
    assert evaluation.last_step == 6
    evaluation.withdraw(6)
    assert evaluation.last_step == 5
