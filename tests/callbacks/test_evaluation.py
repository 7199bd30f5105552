import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_gan import CGAN, GAN
from lightning_gan.callbacks import BestCheckpoint, Evaluation, GANCheckpoint, GeneratorEMA
from lightning_gan.data import GANDataModule, TensorSamples
from lightning_gan.extractors import Description, Extractor
from lightning_gan.functional import frechet_distance, precision_recall_density_coverage
from lightning_gan.metrics import GenerationMetrics, Report
from tests.ranks import Ranks
from tests.toys import Pair, flat, image_networks, points, toy_networks, toy_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Blobs(GANDataModule):
    """Points in two blobs."""

    extractor = "points"
    num_classes = 2

    def __init__(self, shift: float = 0.0, held_out: bool = True, **options: Any) -> None:
        super().__init__(**{"batch_size": 8, "seed": 0} | options)
        self.shift, self.held_out = shift, held_out

    def load(self) -> None:
        self.train_set = self._draw(1, 60)
        self.test_set = self._draw(2, 30) if self.held_out else None

    def _draw(self, seed: int, n: int) -> TensorSamples:
        labels = (torch.arange(n) % 4 == 0).long()
        noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
        return TensorSamples(labels[:, None] + 0.1 * noise + self.shift, labels)


class Tiny(Extractor):
    """Four features of (1, 8, 8) images, and the logits of two classes; counts its calls."""

    num_classes = 2
    seen = 0

    def __init__(self, name: str = "tiny") -> None:
        super().__init__(name)
        self.net = nn.Linear(64, 4)
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        Tiny.seen += len(images)
        features = self.net(images.flatten(1).float() / 255)
        return Description(features, features[:, :2])


class Greys(Blobs):
    """Images (1, 8, 8)."""

    def _draw(self, seed: int, n: int) -> TensorSamples:
        images = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        images = (255 * images).round().to(torch.uint8) // (2 if self.shift else 1)
        return TensorSamples(images, (torch.arange(n) % 4 == 0).long(), horizontal_flip=True)


def seeded_extractor() -> Tiny:
    torch.manual_seed(1)
    return Tiny()


def evaluation(folder: Path, **options: Any) -> Evaluation:
    defaults: dict[str, Any] = {"every_n_steps": 2, "num_images": 40, "cache_dir": folder}
    return Evaluation(**defaults | options)


def seeded(networks: Pair = toy_networks) -> GAN:
    torch.manual_seed(0)
    return GAN(**networks())


def fit(
    folder: Path,
    *callbacks: Any,
    steps: int = 4,
    data: Any = None,
    model: Any = None,
    **options: Any,
) -> tuple[Trainer, LightningModule]:
    model = seeded() if model is None else model
    trainer = toy_trainer(folder, max_steps=steps, callbacks=list(callbacks), **options)
    trainer.fit(model, Blobs() if data is None else data)
    return trainer, model


def test_figures_are_those_of_the_averaged_generators_samples(tmp_path: Path) -> None:
    callback = evaluation(tmp_path)
    trainer, model = fit(tmp_path, callback, GeneratorEMA(decay=0.5))
    assert isinstance(model, GAN)
    latents = torch.randn(40, model.latent_dim, generator=torch.Generator().manual_seed(0))
    fake, real = model.render(latents), Blobs()._draw(1, 60).samples
    assert model.ema_generator is not None
    assert not torch.equal(fake, model.generator(latents))
    distance = frechet_distance(real, fake)
    expected = {"fd/points": distance, "frechet_distance": distance}
    expected |= precision_recall_density_coverage(real, fake)._asdict()
    for name, value in expected.items():
        shown = trainer.callback_metrics[f"eval/{name}"]
        torch.testing.assert_close(shown.double(), value, rtol=1e-5, atol=1e-6)


def test_every_evaluation_is_written_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        _, _ = fit(tmp_path, evaluation(tmp_path), steps=5)
    found = sorted((tmp_path / "evaluation").glob("*.json"))
    assert [path.name for path in found] == [f"step_{step:08d}.json" for step in (0, 2, 4, 5)]
    report = json.loads(found[-1].read_text())
    assert report["protocol"]["real samples"] == 60
    assert report["protocol"]["generated samples"] == 40
    assert report["verdict"] in report["explanation"]
    said = [record.message for record in caplog.records if "fd/points" in record.message]
    assert len(said) == 4  # the end included
    assert report["explanation"] in said[-1]
    assert (tmp_path / "evaluation" / "curves.png").exists()


def test_nothing_happens_where_nothing_is_asked_for(tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, Evaluation(extractor="no such thing"), data=points())
    assert not [name for name in trainer.callback_metrics if name.startswith("eval/")]


def test_training_is_the_same_with_it(tmp_path: Path) -> None:
    plain, evaluated = (fit(tmp_path, *c)[1] for c in ([], [evaluation(tmp_path)]))
    torch.testing.assert_close(flat(evaluated), flat(plain), rtol=0, atol=0)


def test_best_and_last_are_kept(tmp_path: Path) -> None:
    callback = evaluation(tmp_path, every_n_steps=1)
    best = BestCheckpoint(tmp_path / "kept")
    last = GANCheckpoint(tmp_path / "kept")
    fit(tmp_path, callback, best, last, steps=6, enable_checkpointing=True)
    reports = [json.loads(p.read_text()) for p in sorted((tmp_path / "evaluation").glob("*.json"))]
    distances = [report["figures"]["fd/points"] for report in reports[1:]]
    content = torch.load(tmp_path / "kept" / "best.ckpt", weights_only=True)
    assert content["global_step"] == 1 + distances.index(min(distances))
    assert (tmp_path / "kept" / "last.ckpt").exists()
    assert not [key for key in content["state_dict"] if "extractor" in key]


def test_early_stopping_finds_its_monitor(tmp_path: Path) -> None:
    stopping = EarlyStopping(Evaluation.monitor, patience=1, min_delta=1e9)
    callback = evaluation(tmp_path, every_n_steps=None, on_validation=True)
    trainer, _ = fit(tmp_path, callback, stopping, steps=100, check_val_every_n_epoch=1)
    assert trainer.global_step == 14  # two epochs of seven iterations
    names = [path.name for path in sorted((tmp_path / "evaluation").glob("*.json"))]
    assert names == [f"step_{step:08d}.json" for step in (0, 7, 14)]


def test_it_stops_after_so_many_verdicts(tmp_path: Path) -> None:
    callback = evaluation(
        tmp_path, every_n_steps=1, stop_on=("manifold collapse", "garbage"), patience=3, grace=0
    )
    with pytest.warns(UserWarning, match="Training stops after 2 .*3 evaluations in succession"):
        trainer, _ = fit(tmp_path, callback, steps=10, data=Blobs(shift=50.0))
    assert trainer.global_step == 2


def test_it_goes_on_where_few_samples_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, sent = GenerationMetrics.report, iter([0.9, 0.4, 0.9, 0.9, 0.9, 0.9])

    def partial(self: GenerationMetrics) -> Report:
        return replace(report(self), verdict="garbage", severity=next(sent))

    monkeypatch.setattr(GenerationMetrics, "report", partial)
    callback = evaluation(tmp_path, every_n_steps=1, stop_on=["garbage"], patience=2, grace=0)
    with pytest.warns(UserWarning, match="Training stops after 3"):
        trainer, _ = fit(tmp_path, callback, steps=10)
    assert trainer.global_step == 3


class Told(Callback):
    """Keeps what monitors see before the first iteration."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.seen = getattr(self, "seen", dict(trainer.callback_metrics))


def test_a_run_that_goes_on_has_its_figures(tmp_path: Path) -> None:
    callbacks = [BestCheckpoint(), GANCheckpoint(tmp_path / "c", every_n_train_steps=2)]
    first, _ = fit(tmp_path / "1", evaluation(tmp_path), *callbacks, enable_checkpointing=True)
    again, told = [BestCheckpoint(), GANCheckpoint(tmp_path / "c", every_n_train_steps=2)], Told()
    trainer = toy_trainer(
        tmp_path / "2",
        max_steps=5,
        callbacks=[evaluation(tmp_path), told, *again],
        enable_checkpointing=True,
    )
    last = tmp_path / "c" / "last.ckpt"
    trainer.fit(seeded(), Blobs(), ckpt_path=last, weights_only=True)
    for name in ("eval/fd/points", Evaluation.monitor):
        assert told.seen[name] == first.callback_metrics[name]
    names = {path.name for path in (tmp_path / "2" / "evaluation").iterdir()}
    assert names == {"step_00000005.json", "curves.png"}
    # What was best stays to be beaten, in another folder too.
    assert callbacks[0].best_model_score is not None
    best = min(
        float(callbacks[0].best_model_score), float(trainer.callback_metrics["eval/fd/points"])
    )
    assert again[0].best_model_score == pytest.approx(best)


def test_the_best_checkpoint_goes_with_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected an active 'Evaluation' among the callbacks"):
        fit(tmp_path, BestCheckpoint(), Evaluation(), enable_checkpointing=True)


def test_another_training_begins_anew(tmp_path: Path) -> None:
    callback = evaluation(tmp_path)
    fit(tmp_path, callback)
    first = callback.report
    fit(tmp_path, callback, steps=2, data=Blobs(shift=5.0))
    assert callback.last_step == 2
    assert callback.report is not first
    assert callback.report is not None
    assert callback.report.figures["fd/points"] > 10


def test_real_samples_are_described_once(tmp_path: Path) -> None:
    extractor, seen = seeded_extractor(), []
    for data in (Greys(), Greys(), Greys(shift=1.0)):
        Tiny.seen = 0
        callback = evaluation(tmp_path, extractor=extractor, metrics=["fid"])
        fit(tmp_path, callback, data=data, model=seeded(image_networks))
        seen.append(Tiny.seen)
    assert seen == [3 * 40 + 60, 3 * 40, 3 * 40 + 60]
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_classes_are_as_frequent_as_in_the_data(tmp_path: Path) -> None:
    callback = evaluation(tmp_path, num_images=400, metrics=["fid"])
    drawn: list[Tensor] = []

    class Drawing(CGAN):
        def render(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            drawn.append(labels)
            return super().render(latents, labels)

    fit(tmp_path, callback, steps=1, model=Drawing(**toy_networks(2)), limit_val_batches=0)
    assert len(torch.cat(drawn)) == 800  # before and after
    assert 0.2 < torch.cat(drawn).double().mean() < 0.3  # a quarter of the data, not a half


def test_loaders_of_the_users_own(tmp_path: Path) -> None:
    callback = evaluation(tmp_path, extractor="points")
    fit(tmp_path, callback, data=points())
    assert isinstance(callback.report, Report)
    assert callback.report.protocol["real samples"] == 80
    assert "memorization" not in callback.report.figures


def test_the_table_of_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = Evaluation(num_images=40, cache_dir=tmp_path)
    trainer = toy_trainer(tmp_path, callbacks=[callback])
    [results] = trainer.test(GAN(**toy_networks()), Blobs(), verbose=False)
    assert callback.report is not None
    for name, value in callback.report.figures.items():
        assert results[f"test/{name}"] == pytest.approx(value, rel=1e-5, abs=1e-6)
    shown = capsys.readouterr().out
    for part in ("fd/points", "k = 3", "Verdict: ", "SHA-256", "evaluation.txt"):
        assert part in shown
    assert (tmp_path / "evaluation.txt").read_text().strip() in shown
    assert {p.suffix for p in tmp_path.glob("evaluation.*")} == {".txt", ".csv", ".json"}


def _figures(folder: Path, data: LightningDataModule, **options: Any) -> dict[str, float]:
    model = seeded(image_networks)
    callback = evaluation(folder, extractor=seeded_extractor(), num_images=41)
    toy_trainer(folder, callbacks=[callback], **options).test(model, data, verbose=False)
    assert callback.report is not None
    return callback.report.figures


def _on_rank(rank: int, folder: Path) -> dict[str, float]:
    return _figures(folder, Greys(), strategy="ddp", devices=2)


def test_two_processes_find_what_one_does(tmp_path: Path, ranks: Ranks) -> None:
    for _ in range(2):  # extracted, then from the cache
        together = ranks.run(_on_rank, tmp_path)
        alone = _figures(tmp_path / "alone", Greys())
        assert together[0] == together[1]
        assert together[0] == pytest.approx(alone, rel=1e-5, abs=1e-7)
    ours, theirs = ((folder / "features").iterdir() for folder in (tmp_path, tmp_path / "alone"))
    assert [path.name for path in ours] == [path.name for path in theirs]


class Foreign(LightningDataModule):
    """Images of the user's own, in which one class is rare, held-out ones beside them."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(list(Greys()._draw(1, 61)[torch.arange(61)][0]), batch_size=8)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(list(Greys()._draw(2, 30)[torch.arange(30)][0]), batch_size=8)  # type: ignore[arg-type]

    test_dataloader = val_dataloader


def _foreign_on_rank(rank: int, folder: Path) -> dict[str, float]:
    return _figures(folder, Foreign(), strategy="ddp", devices=2)


@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders")
def test_two_processes_share_a_foreign_loader(tmp_path: Path, ranks: Ranks) -> None:
    together = ranks.run(_foreign_on_rank, tmp_path)
    alone = _figures(tmp_path / "alone", Foreign())
    assert together[0] == pytest.approx(alone, rel=1e-5, abs=1e-7)
    assert "memorization" in alone


def test_rare_classes_of_the_data_are_no_imbalance(tmp_path: Path) -> None:
    class OneClass(Tiny):
        def describe(self, images: Tensor) -> Description:
            features, _ = super().describe(images)
            return Description(features, torch.tensor([1.0, 0.0]).expand(len(images), 2))

    callback = evaluation(tmp_path, extractor=OneClass())
    fit(tmp_path, callback, data=Foreign(), model=seeded(image_networks), limit_val_batches=0)
    assert callback.report is not None
    assert callback.report.figures["mode_kl"] == 0.0
    assert callback.report.protocol["real classes"] == "as the extractor finds them"


def test_bf16(tmp_path: Path) -> None:
    callback = evaluation(tmp_path, extractor=Tiny())
    fit(tmp_path, callback, data=Greys(), model=seeded(image_networks), precision="bf16-mixed")
    assert callback.report is not None
    assert callback.report.figures["fd/tiny"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "'every_n_steps' to be at least 1, got 0"),
        ({"num_images": 1}, "'num_images' to be at least 2"),
        ({"num_real": 1}, "'num_real' to be at least 2"),
        ({"batch_size": 0}, "'batch_size' to be at least 1"),
        ({"patience": 0}, "'patience' to be at least 1"),
        ({"stop_on": ["collapse"]}, "'stop_on' to be one of .*mode dropping.*got 'collapse'"),
        ({"metrics": ["ssim"]}, "'metrics' to be one of .*fid.*got 'ssim'"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluation(**options)


def test_what_does_not_fit_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such thing"):
        fit(tmp_path, evaluation(tmp_path, extractor="no such thing"))
    with pytest.raises(ValueError, match=r"\(N, d\)"):
        fit(tmp_path, evaluation(tmp_path), data=Greys(), model=seeded(image_networks))
    trainer = toy_trainer(tmp_path, callbacks=[Evaluation(extractor="points")])
    with pytest.raises(ValueError, match="training data to compare with"):
        trainer.test(GAN(**toy_networks()), points().train_dataloader(), verbose=False)
    with pytest.raises(TypeError, match="Expected Evaluation to run with a model of lightning_gan"):
        evaluation(tmp_path).setup(trainer, LightningModule(), "fit")
