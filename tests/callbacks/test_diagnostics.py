"""What the diagnostics log, say and write, and that the training does not notice."""

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from lightning import Callback, seed_everything
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from matplotlib.axes import Axes
from torch import Tensor

from lightning_gan import GAN, WGAN
from lightning_gan.callbacks import Diagnostics, GANCheckpoint, GeneratorEMA
from lightning_gan.callbacks import diagnosis as drawing
from lightning_gan.callbacks import diagnostics as module
from lightning_gan.callbacks.diagnosis import draw_diagnosis, report
from lightning_gan.callbacks.history import Measured
from lightning_gan.diagnostics.alarms import Raised
from lightning_gan.diagnostics.probe import probe
from lightning_gan.diagnostics.signs import NAMES
from lightning_gan.gans import AdversarialModule
from lightning_gan.networks import MLPDiscriminator, MLPGenerator
from lightning_gan.training import read_checkpoint
from tests.callbacks.test_evaluation import Blobs
from tests.ranks import Ranks
from tests.toys import (
    VARIANTS,
    ValidatedData,
    assert_same,
    flat,
    image_networks,
    images,
    labelled,
    networks_for,
    points,
    toy_networks,
    toy_trainer,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:After"),  # alarms
]


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing at the end of a run, as it takes a second."""
    nothing = torch.zeros(3, 1, 1, dtype=torch.uint8)
    monkeypatch.setattr(drawing, "draw_diagnosis", lambda *_: nothing)


def seeded(**options: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(**toy_networks(), **options)


def quick(**options: Any) -> Diagnostics:
    """Return one that measures each iteration, and is alarmed by the second of a kind."""
    return Diagnostics(**{"every_n_steps": 1, "patience": 2, "grace": 0} | options)


def fit(
    folder: Path, *callbacks: Callback, steps: int = 4, model: Any = None, data: Any = None,
    **options: Any,
) -> Any:  # fmt: skip
    ckpt_path = options.pop("ckpt_path", None)
    trainer = toy_trainer(folder, max_steps=steps, callbacks=list(callbacks), **options)
    trainer.fit(model or seeded(), data or points(batches=1), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_training_of_any_variant_does_not_notice(
    variant: type[AdversarialModule], tmp_path: Path
) -> None:
    ends = []
    for callbacks in ([], [found := quick(steepness_every_n_steps=2)]):
        torch.manual_seed(0)
        model = variant(**networks_for(variant))
        trainer = fit(tmp_path, *callbacks, steps=2, model=model, data=labelled(points()))
        moments = [optimizer.state_dict() for optimizer in trainer.optimizers]
        ends.append({"model": dict(model.state_dict()), "moments": moments})
    assert_same(ends[1], ends[0])
    assert [one.step for one in found.history] == [1, 2]
    first, second = (one.figures for one in found.history)
    assert {"accuracy", "g_grad_norm", "diversity", "slope_mean"} <= first.keys()
    assert {"accuracy", "slope_mean"} <= second.keys()
    assert first.get("slope_target", 0.0) == float(issubclass(variant, WGAN))
    assert ("clipped_share" in first) == (variant is WGAN)


def test_figures_are_the_probes_of_the_iterations_last_batch(tmp_path: Path) -> None:
    expected: list[dict[str, float]] = []
    data = ValidatedData(*torch.randn(3, 40, 2))
    held_out = data.batches[0]

    class Ask(Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, out: Any, batch: Any, _: Any
        ) -> None:
            real = pl_module.receive(batch[20:])
            expected.append(probe(pl_module, real, pl_module.receive(held_out)))

    found = quick(steepness_every_n_steps=None)
    fit(tmp_path, Ask(), found, steps=3, model=seeded(n_critic=2), data=data)
    for one, figures in zip(found.history, expected, strict=True):
        shared = {name: one.figures[name] for name in figures}
        assert shared == pytest.approx(figures, rel=1e-6)
    assert {"rotation_g", "rotation_d"} <= found.history[-1].figures.keys()


@pytest.mark.parametrize("data", [Blobs, lambda: ValidatedData(*points().batches)])
def test_held_out_samples_are_found(data: Any, tmp_path: Path) -> None:
    seen: list[Any] = []

    def spy(model: Any, real: Any, held_out: Any = None) -> dict[str, float]:
        seen.append(held_out)
        return {}

    with patch.object(module, "probe", spy):
        fit(tmp_path, quick(), data=data())
    assert len(seen) == 4
    assert all(batch is not None and torch.equal(batch.samples, seen[0].samples) for batch in seen)
    expected = Blobs()._draw(2, 30).samples[:8] if data is Blobs else points().batches[0]
    torch.testing.assert_close(seen[0].samples, expected, rtol=0, atol=0)  # a batch of them


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision: str, tmp_path: Path) -> None:
    found = quick(steepness_every_n_steps=1)
    options: dict[str, Any] = {"precision": precision, "steps": 2}
    data = ValidatedData(*images().batches)
    fit(tmp_path, found, model=GAN(**image_networks()), data=data, **options)
    assert len(found.history) == 2
    assert all({"accuracy", "slope_max"} <= one.figures.keys() for one in found.history)


def test_measures_at_its_intervals(tmp_path: Path) -> None:
    found = Diagnostics(3, 4)  # the slopes every sixth, as every fourth is not measured
    fit(tmp_path, found, steps=12)
    assert [one.step for one in found.history] == [1, 3, 6, 9, 12]
    steep = [one.step for one in found.history if "slope_max" in one.figures]
    assert steep == [1, 6, 12]
    assert found.patience_of("discriminator too steep") == 2 * 6
    assert found.patience_of("samples collapse") == 5 * 3
    assert found.last_step == 12


def test_logs_figures_and_alarms(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="log", version="")
    found = quick(thresholds={"diversity": 1e9}, grace=1)
    trainer = fit(tmp_path, found, logger=logger, log_every_n_steps=1, steps=7)
    header, *rows = (tmp_path / "log" / "metrics.csv").read_text().splitlines()
    columns = header.split(",")

    def column(name: str) -> list[str]:
        return [cell for row in rows if (cell := row.split(",")[columns.index(name)])]

    values = [one.figures["accuracy"] for one in found.history]
    assert [float(x) for x in column("diagnostics/accuracy")] == pytest.approx(values)
    alarm = [float(x) for x in column("diagnostics/alarm/samples_collapse")]
    assert alarm == [0, 0, 1, 1, 1, 1, 1]
    assert {f"diagnostics/alarm/{name.replace(' ', '_')}" for name in NAMES} <= set(columns)
    assert "oscillation_g" in found.history[4].figures  # of five losses
    assert trainer.callback_metrics["diagnostics/diversity"] > 0


def test_says_and_writes_alarms_once(tmp_path: Path) -> None:
    found = quick(thresholds={"diversity": 1e9})
    with pytest.warns(UserWarning, match="After 2 generator iterations the samples of") as said:
        fit(tmp_path, found, steps=6)
    assert len([one for one in said if "samples of a batch" in str(one.message)]) == 1
    folder = tmp_path / "diagnostics"
    [alarm] = json.loads((folder / "alarms.json").read_text())
    sentence = alarm.pop("sentence")
    assert alarm == {"name": "samples collapse", "step": 2, "since": 1, "still": True}
    text = (folder / "report.md").read_text()
    assert f"raised at iteration 2, since 1, and still: {sentence}" in text
    assert "| accuracy |" in text
    assert (folder / "curves.png").exists()


def test_report_of_a_run_that_fails(tmp_path: Path) -> None:
    class Fail(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            if trainer.global_step == 3:
                raise FloatingPointError("of a test")

    with pytest.raises(FloatingPointError, match="of a test"):
        fit(tmp_path, Fail(), Diagnostics(1))
    assert "None was raised" in (tmp_path / "diagnostics" / "report.md").read_text()


def _course(ckpt_path: Path | None, folder: Path, **options: Any) -> Diagnostics:
    found = quick(thresholds={"diversity": 1e9}, steepness_every_n_steps=2)
    saves = GANCheckpoint(folder, save_top_k=-1, every_n_train_steps=1)
    options = {"enable_checkpointing": True, "log_every_n_steps": 1} | options
    fit(folder, GeneratorEMA(), found, saves, steps=8, ckpt_path=ckpt_path, **options)
    return found


@pytest.mark.parametrize("step", [3])
def test_resume_is_exact(step: int, tmp_path: Path) -> None:
    whole = _course(None, tmp_path / "whole")
    rest = _course(tmp_path / "whole" / f"step_{step:08d}.ckpt", tmp_path / "rest")
    assert [*rest.history] == [*whole.history]
    assert [one.step for one in rest.history] == list(range(1, 9))
    actual, expected = (
        read_checkpoint(tmp_path / name / "last.ckpt") for name in ("rest", "whole")
    )
    for part in ("state_dict", "optimizer_states"):
        assert_same(actual[part], expected[part], part)
    assert_same(actual["callbacks"]["Diagnostics"], expected["callbacks"]["Diagnostics"])
    alarms = [
        json.loads((tmp_path / n / "diagnostics/alarms.json").read_text())
        for n in ("rest", "whole")
    ]
    assert alarms[0] == alarms[1]


def test_second_run_forgets_the_first(tmp_path: Path) -> None:
    found = quick()
    fit(tmp_path / "a", found, steps=3)
    fit(tmp_path / "b", found, steps=2)
    assert [one.step for one in found.history] == [1, 2]


@pytest.mark.parametrize(("n", "packing"), [(3, 1), (2, 2), (6, 4)])
def test_small_batches(n: int, packing: int, tmp_path: Path) -> None:
    found = quick(steepness_every_n_steps=1)
    networks: dict[str, Any] = {
        "generator": MLPGenerator(hidden=(4,)),
        "discriminator": MLPDiscriminator((2 * packing,), hidden=(4,)),
    }
    model = GAN(**networks, packing=packing, n_critic=2)
    fit(tmp_path, found, model=model, data=points(n, 1), steps=2)
    assert "accuracy" in found.history[-1].figures


def test_single_samples_are_left_alone(tmp_path: Path) -> None:
    found = quick()
    with pytest.warns(UserWarning, match="too small for Diagnostics"):
        fit(tmp_path, found, data=points(1, 1))
    assert not found.history


@pytest.mark.parametrize(("every", "dry"), [(None, False), (1, True)])
def test_measures_nothing_where_that_is_asked_for(
    every: int | None, dry: bool, tmp_path: Path
) -> None:
    found = Diagnostics(every)
    fit(tmp_path, found, fast_dev_run=2 if dry else False)
    assert found.active == (every is not None)
    assert not found.history
    assert not (tmp_path / "diagnostics").exists()


def _on_rank(rank: int, folder: Path, precision: str) -> tuple[list[Any], Tensor, Tensor]:
    ends = []
    data = labelled(points())
    torch.manual_seed(rank)
    data.batches = [torch.randn(20, 2) for _ in range(4)]  # of each rank its own
    found = quick(steepness_every_n_steps=1)
    for callbacks in ([found], []):
        seed_everything(0, verbose=False)
        model = seeded()
        options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "precision": precision}
        with patch.object(module, "write_diagnosis") as write:
            fit(folder, *callbacks, model=model, data=data, **options)
        assert write.called == (rank == 0 and bool(callbacks))
        ends.append(flat(model))
    del os.environ["PL_GLOBAL_SEED"]
    return [tuple(one) for one in found.history], ends[0], ends[1]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_ranks_measure_together(precision: str, ranks: Ranks, tmp_path: Path) -> None:
    (first, *ends), (second, *others) = ranks.run(_on_rank, tmp_path, precision)
    assert first == second
    assert len(first) == 4
    assert torch.equal(*ends)
    assert torch.equal(ends[0], others[0])


def test_conditional_models_of_images(tmp_path: Path) -> None:
    variant = VARIANTS["ProjectionGAN"]
    model = variant(**networks_for(variant, image_networks, conditional=True))
    data = labelled(images())
    held_out = ValidatedData(*data.batches)
    found = quick(steepness_every_n_steps=1)
    fit(tmp_path, found, model=model, data=held_out)
    assert len(found.history) == 4
    assert all({"accuracy", "slope_max"} <= one.figures.keys() for one in found.history)


def test_eigenvalues_on_request(tmp_path: Path) -> None:
    found = Diagnostics(1, None, eigenvalues_every_n_steps=2)
    networks = (MLPGenerator(1, hidden=(2,)), MLPDiscriminator(hidden=(2,)))
    fit(tmp_path, found, model=GAN(*networks))
    assert [one.step for one in found.history if "eigenvalue" in one.figures] == [1, 2, 4]
    with pytest.raises(ValueError, match="Expected no 'eigenvalues_every_n_steps'"):
        fit(tmp_path, found, model=seeded(unrolled_steps=2))


@pytest.mark.parametrize("dear", ["steepness_every_n_steps", "eigenvalues_every_n_steps"])
def test_a_diverged_training_ends_in_its_own_words(dear: str, tmp_path: Path) -> None:
    class Diverge(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                next(pl_module.discriminator.parameters()).data.fill_(torch.inf)

    found = quick(**{"steepness_every_n_steps": None, dear: 1})
    with pytest.raises(FloatingPointError, match="Expected finite values in training"):
        fit(tmp_path, Diverge(), found, steps=12, log_every_n_steps=10)
    assert found.last_step > 2  # it was asked to measure such weights


def test_every_figure_has_its_meaning_in_the_report(tmp_path: Path) -> None:
    found = Diagnostics(1, 1, eigenvalues_every_n_steps=1)
    networks = (MLPGenerator(1, hidden=(2,)), MLPDiscriminator(hidden=(2,)))
    fit(tmp_path, found, model=WGAN(*networks), data=ValidatedData(*points().batches))
    names = {name for one in found.history for name in one.figures}
    assert {"clipped_share", "eigenvalue", "slope_target"} <= names <= drawing.MEANINGS.keys()


def test_curves_show_figures_and_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    curves: dict[str, list[float]] = {}
    spans: list[tuple[float, float]] = []
    plot, span = Axes.plot, Axes.axvspan

    def keep(self: Axes, x: Any, y: Any, **kwargs: Any) -> Any:
        curves[kwargs["label"]] = list(y)
        return plot(self, x, y, **kwargs)

    def keep_span(self: Axes, start: float, end: float, **kwargs: Any) -> Any:
        spans.append((start, end))
        return span(self, start, end, **kwargs)

    monkeypatch.setattr(Axes, "plot", keep)
    monkeypatch.setattr(Axes, "axvspan", keep_span)
    figures = {"accuracy": 0.9, "g_grad_norm": 0.1, "real_logit_mean": 1.0, "eigenvalue": -1.0}
    history = [Measured(step, figures) for step in (1, 50)] + [Measured(100, {"accuracy": 0.7})]
    picture = draw_diagnosis(history, [Raised("samples collapse", 100, 50, "A sentence.")])
    assert picture.shape == (3, 900, 1000)
    assert curves["accuracy"] == [0.9, 0.9, 0.7]
    assert curves["at weights"] == [0.1, 0.1]
    assert curves["eigenvalue"] == [-1.0, -1.0]
    assert spans == [(50, 100)] * 6


def test_report_tells_how_figures_went() -> None:
    history = [Measured(step, {"accuracy": step / 10, "mine": 1.0}) for step in (1, 4, 9)]
    raised = [Raised("samples collapse", step, 1, f"At {step}.") for step in (4, 9)]
    text = report(history, raised, {"samples collapse"})
    assert "| accuracy | 0.1 | 0.4 | 0.9 | share of" in text
    assert "| mine | 1 | 1 | 1 |  |" in text
    assert "since 1: At 4." in text
    assert "since 1, and still: At 9." in text


def test_an_alarm_that_was_raised_twice_goes_on_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "save_picture", lambda *_: None)
    raised = [Raised(NAMES[0], step, step - 1, "ill") for step in (5, 9)]
    history = [Measured(1, {"accuracy": 0.5}), Measured(9, {"accuracy": 1.0})]
    drawing.write_diagnosis(tmp_path, history, raised, [NAMES[0]])
    written = json.loads((tmp_path / "alarms.json").read_text())
    assert [one["still"] for one in written] == [False, True]
    assert (tmp_path / "report.md").read_text().count("and still") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "Expected 'every_n_steps' to be at least 1, got 0"),
        ({"steepness_every_n_steps": 0}, "Expected 'steepness_every_n_steps' to be at least 1"),
        ({"eigenvalues_every_n_steps": -1}, "Expected 'eigenvalues_every_n_steps' to be at least"),
        ({"thresholds": {"size": 1.0}}, "Expected 'thresholds' to be finite numbers"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Diagnostics(**options)


def test_foreign_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model of lightning_gan, got BoringModel"):
        fit(tmp_path, Diagnostics(), model=BoringModel())


def test_a_run_goes_on_without_diagnostics(tmp_path: Path) -> None:
    trainer = fit(tmp_path, quick())
    trainer.save_checkpoint(path := tmp_path / "kept.ckpt", weights_only=False)
    quiet = Diagnostics(every_n_steps=None)
    fit(tmp_path, quiet, steps=6, ckpt_path=path)
    assert quiet.last_step == 4
