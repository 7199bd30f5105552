import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from lightning_gan.extractors import Points
from lightning_gan.functional import (
    class_coverage,
    frechet_distance,
    frechet_distance_floor,
    inception_score,
    kernel_distance,
    memorization,
    mixture_coverage,
    moments,
    nearest_distances,
    precision_recall_density_coverage,
)
from lightning_gan.metrics import GenerationMetrics, Reference
from lightning_gan.metrics import generation as module
from tests.metrics.stubs import CLASSES, Counting, images, sample_set
from tests.ranks import Ranks
from tests.toys import toy_trainer
from tests.training.test_distributed import join

REAL, FAKE = images(60, seed=1), images(44, seed=2, brightest=100)
PLAIN = ("precision", "recall", "density", "coverage", "modes", "mode_kl")


def updated(metrics: GenerationMetrics, real: Tensor = REAL, fake: Tensor = FAKE) -> Any:
    for samples, is_real in ((real, True), (fake, False)):
        for batch in samples.split(16):
            metrics.update(batch, real=is_real)
    return metrics


@cache
def expected_figures() -> dict[str, Tensor]:
    """Return those of the images above, in one batch."""
    metrics = GenerationMetrics(Counting())
    metrics.update(REAL, real=True)
    metrics.update(FAKE, real=False)
    figures: dict[str, Tensor] = metrics.compute()
    return figures


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_figures_are_those_of_the_functions() -> None:
    extractor, shares = Counting(), torch.tensor([0.5, 0.3, 0.2])
    (real, _), (fake, logits) = extractor(REAL), extractor(FAKE)
    assert logits is not None
    mean, deviation = inception_score(logits, 10, torch.Generator().manual_seed(0))
    coverage = class_coverage(logits.argmax(dim=1), CLASSES, shares)
    expected = {
        "fd/counting": frechet_distance(real, fake),
        "score/counting": mean,
        "score/counting_std": deviation,
        "modes": coverage.modes.double(),
        "mode_kl": coverage.kl,
        "kd/counting": kernel_distance(real, fake),
        **precision_recall_density_coverage(real, fake)._asdict(),
    }
    actual = updated(GenerationMetrics(extractor, real_shares=shares)).compute()
    assert_same(actual, expected)
    assert all(value.dtype == torch.float64 and not value.dim() for value in actual.values())


def test_held_out_samples_tell_of_copies(tmp_path: Path) -> None:
    metrics = GenerationMetrics(Counting(), ["memorization"])
    metrics.measure_real(sample_set(60, 1), sample_set(30, 3), tmp_path)
    metrics.update(FAKE, real=False)
    real, fake, held_out = (metrics.extractor(x).features for x in (REAL, FAKE, images(30, 3)))
    found = memorization(nearest_distances(fake, real), nearest_distances(held_out, real))
    assert_same(metrics.compute(), {"memorization": found.score, "copies": found.copies})


@pytest.mark.parametrize(
    ("published", "number", "own"),
    [(True, 44, False), (True, 43, True), (True, 45, True), (False, 44, True)],
)
def test_published_names_are_for_the_published_protocol(
    published: bool, number: int, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_gan.metrics.comparison.PUBLISHED_SIZE", 44)
    metrics = GenerationMetrics(Counting(published))
    values = updated(metrics, REAL[:20], images(number, 2)).compute()
    names = ("fid", "inception_score", "inception_score_std", "kid")
    if own:
        names = ("fd/counting", "score/counting", "score/counting_std", "kd/counting")
    assert values.keys() == {*names, *PLAIN}


def test_each_sample_is_described_once_and_the_real_side_measured_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []
    measure = Reference.measure

    def counted(features: Tensor, *rest: Any) -> Reference:
        measured.append(len(features))
        return measure(features, *rest)

    monkeypatch.setattr(Reference, "measure", counted)
    extractor = Counting()
    metrics = updated(GenerationMetrics(extractor))
    first = metrics.compute()
    metrics.report()
    assert (extractor.seen, measured) == (60 + 44, [60])
    metrics.reset()
    metrics.update(FAKE, real=False)
    assert_same(metrics.compute(), first)
    assert (extractor.seen, measured) == (60 + 2 * 44, [60])
    assert not metrics.real_features  # which would be held twice


def test_reset_forgets_generated_samples_alone() -> None:
    metrics = updated(GenerationMetrics(Counting()), fake=images(20, 5))
    metrics.reset()
    metrics.update(FAKE, real=False)
    assert_same(metrics.compute(), expected_figures())


def test_more_samples_after_compute() -> None:
    metrics = updated(GenerationMetrics(Counting()), fake=FAKE[:20])
    metrics.compute()
    metrics.update(FAKE[20:], real=False)
    assert_same(metrics.compute(), expected_figures())
    with pytest.raises(ValueError, match="no more real samples once they are measured"):
        metrics.update(REAL, real=True)


def test_forward_takes_samples_in() -> None:
    metrics = GenerationMetrics(Counting())
    for samples, real in ((REAL, True), (FAKE[:2], False), (FAKE[2:], False)):
        assert metrics(samples, real=real) == {}
    assert_same(metrics.compute(), expected_figures())


@pytest.mark.parametrize(
    "copied", [lambda metrics: metrics.clone(), lambda metrics: pickle.loads(pickle.dumps(metrics))]
)
def test_copies(copied: Callable[[GenerationMetrics], GenerationMetrics]) -> None:
    metrics = updated(GenerationMetrics(Counting()))
    early = copied(metrics)
    expected = metrics.compute()
    for copy in (early, copied(metrics)):
        assert_same(copy.compute(), expected)
        copy.reset()
        copy.update(FAKE, real=False)
        assert_same(copy.compute(), expected)
        assert copy.verdict == metrics.verdict


def test_it_stays_in_full_precision() -> None:
    metrics = updated(GenerationMetrics(Counting()))
    nn.ModuleList([metrics]).to(torch.bfloat16)
    assert_same(metrics.compute(), expected_figures())


def test_in_a_collection() -> None:
    few, all_of_them = GenerationMetrics(Counting(), ["fid"]), GenerationMetrics(Counting())
    together = MetricCollection({"few": few, "all": all_of_them})
    expected = expected_figures()
    for _ in range(2):
        for batch in FAKE.split(16):
            together.update(batch, real=False)
        if few.reference is None:
            together.update(REAL, real=True)
        values = together.compute()
        for name, value in expected.items():
            torch.testing.assert_close(values[f"all_{name}"], value)
        torch.testing.assert_close(values["few_fd/counting"], expected["fd/counting"])
        together.reset()


class Evaluated(LightningModule):
    """What a user may write."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.metrics: Any = GenerationMetrics(Counting())

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.metrics.update(batch, real=True)
        self.metrics.update(batch // 2, real=False)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute())
        self.metrics.reset()


def test_in_a_module_of_the_users_own(tmp_path: Path) -> None:
    model = Evaluated()
    assert list(model.state_dict()) == ["net.weight", "net.bias"]
    assert sum(parameter.numel() for parameter in model.parameters()) == 6
    loader: DataLoader[Any] = DataLoader(list(REAL), batch_size=16)  # type: ignore[arg-type]
    [logged] = toy_trainer(tmp_path).validate(model, loader, verbose=False)
    expected = updated(GenerationMetrics(Counting()), REAL, REAL // 2).compute()
    assert logged == pytest.approx({n: v.item() for n, v in expected.items()}, rel=1e-5)


def _compute_parts(rank: int, cut: int, scored: bool) -> dict[str, Tensor]:
    join()
    metrics = GenerationMetrics(Counting(logits=scored))
    for samples, real in ((REAL, True), (FAKE, False)):
        own = samples[:cut] if rank == 0 else samples[cut:]
        for batch in own.split(16) if len(own) else ():
            metrics.update(batch, real=real)
    first = metrics.compute()
    metrics.reset()
    for batch in (FAKE[:cut] if rank == 0 else FAKE[cut:]).split(16) if cut < 44 else ():
        metrics.update(batch, real=False)
    if cut < 44:
        assert_same(metrics.compute(), first)
    return first


@pytest.mark.parametrize(("cut", "scored"), [(13, True), (13, False), (60, True)])
def test_two_processes_find_what_one_does(cut: int, scored: bool, ranks: Ranks) -> None:
    alone = updated(GenerationMetrics(Counting(logits=scored))).compute()
    for together in ranks.run(_compute_parts, cut, scored):
        assert_same(together, alone)


def test_images_in_floats_are_their_bytes() -> None:
    metrics = updated(GenerationMetrics(Counting()), REAL / 127.5 - 1, FAKE / 127.5 - 1)
    assert_same(metrics.compute(), expected_figures())


def test_generated_images_are_clamped() -> None:
    metrics = GenerationMetrics(Counting())
    beyond = metrics.describe(torch.tensor([-3.0, 2.0]).repeat(8).view(1, 1, 4, 4))
    within = metrics.describe(torch.tensor([-1.0, 1.0]).repeat(8).view(1, 1, 4, 4), real=True)
    torch.testing.assert_close(beyond.features, within.features, rtol=0, atol=0)


def test_points() -> None:
    real, fake = torch.randn(200, 2), torch.randn(150, 2) * 0.3
    metrics = updated(GenerationMetrics("points"), real, fake)
    values = metrics.compute()
    torch.testing.assert_close(values["fd/points"], frechet_distance(real, fake))
    assert values.keys() == {"fd/points", "kd/points", *PLAIN[:4]}
    assert metrics.verdict.name == "within-mode collapse"


def test_no_more_is_computed_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("needless work")

    for name in ("neighborhood", "calibrate", "nearest_distances"):
        monkeypatch.setattr(f"lightning_gan.metrics.reference.{name}", forbidden)
    monkeypatch.setattr("lightning_gan.metrics.comparison.overlap", forbidden)
    extractor = Counting()
    metrics = updated(GenerationMetrics(extractor, ["fid"]))
    assert list(metrics.compute()) == ["fd/counting"]
    assert metrics.verdict is None
    assert not metrics.fake_logits
    extractor.seen = 0
    metrics = GenerationMetrics(extractor, ["fid"])
    metrics.measure_real(sample_set(60), sample_set(30, 3), tmp_path)
    assert extractor.seen == 60
    logits = GenerationMetrics(extractor, ["inception_score", "modes"])
    logits.update(FAKE, real=False)
    assert logits.compute().keys() == {"score/counting", "score/counting_std", *PLAIN[4:]}
    assert "real samples" not in logits.report().protocol


def test_what_is_impossible_is_left_out_and_said() -> None:
    metrics = updated(GenerationMetrics(Counting(logits=False)))
    report = metrics.report()
    assert report.figures.keys() == {"fd/counting", "kd/counting", *PLAIN[:4]}
    assert "Left out: inception_score takes an extractor with logits" in report.notes[-1]
    assert "modes takes a classifier" in report.notes[-1]
    few = updated(GenerationMetrics(Counting(), ["fid", "inception_score"]), fake=FAKE[:9])
    assert list(few.compute()) == ["fd/counting"]
    few.update(FAKE[9:10], real=False)
    assert "score/counting" in few.compute()
    none = GenerationMetrics(Counting(logits=False), ["inception_score"])
    none.update(FAKE, real=False)
    with pytest.raises(ValueError, match=r"a figure that is possible, got none\. Left out: inc"):
        none.compute()


@pytest.mark.parametrize(
    ("metrics", "real", "fake", "message"),
    [
        (["kid"], 19, 44, "at least 20 real samples to compare neighbours.* got 19"),
        (["coverage"], 60, 3, "at least 4 generated samples to compare neighbours.* got 3"),
        (["fid"], 1, 2, "at least 2 real samples, got 1"),
        (["fid"], 2, 1, "at least 2 generated samples, got 1"),
    ],
)
def test_too_few_samples(metrics: list[str], real: int, fake: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        updated(GenerationMetrics(Counting(), metrics), REAL[:real], FAKE[:fake]).compute()
    enough = GenerationMetrics(Counting(), metrics)
    assert updated(enough, REAL[: max(real, 20)], FAKE[: max(fake, 4)]).compute()


def test_the_generated_side_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Reference, "measure")
    with pytest.raises(ValueError, match="4 generated samples"):
        updated(GenerationMetrics(Counting()), fake=FAKE[:1]).compute()


def test_empty_sides() -> None:
    metrics = GenerationMetrics(Counting())
    metrics.update(FAKE, real=False)
    with pytest.raises(ValueError, match="Expected real samples before 'compute', got none"):
        metrics.compute()
    metrics = GenerationMetrics(Counting())
    metrics.update(REAL, real=True)
    with pytest.raises(ValueError, match="Expected generated samples before 'compute'"):
        metrics.compute()


def with_nan(samples: Tensor) -> Tensor:
    samples = samples / 127.5 - 1
    samples[3].view(-1)[0] = torch.nan
    return samples


@pytest.mark.parametrize(
    ("samples", "real", "error", "message"),
    [
        (with_nan(FAKE), False, ValueError, "finite samples, got NaN or infinity in 1 of 44"),
        (with_nan(FAKE), True, ValueError, "finite samples, got NaN or infinity in 1 of 44"),
        (REAL.float(), True, ValueError, r"real images to be uint8 or in \[-1, 1\], got .* 255"),
        (REAL.long(), True, TypeError, "to be uint8"),
        (REAL.long(), False, TypeError, "to be uint8"),
        (REAL[0], True, ValueError, r"shape \(N, C, H, W\), got \(1, 4, 4\)"),
        (REAL[:0], True, ValueError, r"shape \(N, C, H, W\), got \(0"),
        (REAL[:0].float(), True, ValueError, r"shape \(N, C, H, W\), got \(0"),
        (images(9).view(9, 1, 2, 8), False, ValueError, r"of shape \(1, 4, 4\) .*got \(1, 2, 8\)"),
        (images(9).view(9, 4, 2, 2), True, ValueError, r"of shape \(1, 4, 4\) .*got \(4, 2, 2\)"),
    ],
)
def test_bad_samples_are_refused(
    samples: Tensor, real: bool, error: type[Exception], message: str
) -> None:
    metrics = updated(GenerationMetrics(Counting(), ["fid"]))
    with pytest.raises(error, match=message):
        metrics.update(samples, real=real)
    assert metrics.compute()["fd/counting"] == expected_figures()["fd/counting"]


def test_rounding_beyond_the_range_is_forgiven() -> None:
    metrics = GenerationMetrics(Counting())
    edge = torch.full((1, 1, 4, 4), 1.003)
    torch.testing.assert_close(metrics.describe(edge, True), metrics.describe(edge.sign(), True))


def test_generated_samples_have_the_shape_of_cached_real_ones(tmp_path: Path) -> None:
    for _ in range(2):
        metrics = GenerationMetrics(Counting(), ["fid"])
        metrics.measure_real(sample_set(60), cache_dir=tmp_path)
        with pytest.raises(ValueError, match=r"of shape \(1, 4, 4\) like those before, got"):
            metrics.update(images(9).view(9, 1, 2, 8), real=False)


@pytest.mark.parametrize("metrics", [[], ["fid", "ssim"], "fid"])
def test_unknown_metrics(metrics: Any) -> None:
    with pytest.raises(ValueError, match="Expected 'metrics' among"):
        GenerationMetrics(Counting(), metrics)


def test_a_reference_serves_many() -> None:
    features = Counting()(REAL).features
    expected = expected_figures()
    for reference in (Reference.measure(features), Reference.measure(features, neighbors=False)):
        metrics = GenerationMetrics(Counting(), reference=reference)
        metrics.update(FAKE, real=False)
        assert_same(metrics.compute(), expected)


def test_another_real_side_gives_other_figures(tmp_path: Path) -> None:
    metrics = GenerationMetrics(Counting(), ["fid"])
    metrics.update(FAKE, real=False)
    values = []
    for seed in (1, 8):
        metrics.measure_real(sample_set(60, seed), cache_dir=tmp_path)
        values.append(metrics.compute()["fd/counting"])
        real, fake = (metrics.extractor(x).features for x in (images(60, seed), FAKE))
        torch.testing.assert_close(values[-1], frechet_distance(real, fake))
    assert values[0] != values[1]
    mixed = updated(GenerationMetrics(Counting()))
    with pytest.raises(ValueError, match="all real samples by 'measure_real', got some by 'upd"):
        mixed.measure_real(sample_set(60), cache_dir=tmp_path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    calls = {"compare": 0, "frechet_distance_floor": 0}

    def counting(name: str) -> Callable[..., Any]:
        function = getattr(module, name)

        def wrapped(*args: Any) -> Any:
            calls[name] += 1
            return function(*args)

        return wrapped

    for name in calls:
        monkeypatch.setattr(module, name, counting(name))
    return calls


def test_a_report_computes_nothing_again(counted: dict[str, int]) -> None:
    metrics = updated(GenerationMetrics(Counting(layer="last")))
    values = metrics.compute()
    reports = [metrics.report() for _ in range(2)]
    assert counted == {"compare": 1, "frechet_distance_floor": 1}
    assert reports[0] == reports[1]
    assert reports[0].figures == {name: value.item() for name, value in values.items()}
    assert reports[0].explanation == metrics.verdict.sentence
    known = {"generated samples": 44, "real samples": 60, "layer": "last", "resizing": "none"}
    assert reports[0].protocol | known == reports[0].protocol
    assert reports[0].protocol["extractor's SHA-256"] == metrics.extractor.digest()
    metrics.reset()
    metrics.update(FAKE, real=False)
    assert metrics.report() == reports[0]
    assert counted == {"compare": 2, "frechet_distance_floor": 1}


def test_the_floor_is_noted() -> None:
    real, far = torch.randn(2, 100, 2)
    metrics = updated(GenerationMetrics("points", ["fid"]), real, far + 5)
    [note] = metrics.report().notes
    floor = frechet_distance_floor(moments(real), 100, 100).item()
    assert f"{floor:.4g}" in note
    assert "% of the measured 5" in note


@pytest.mark.parametrize(("width", "said"), [(2, "no less than|% of"), (60, "than the 60 feat")])
def test_a_high_floor_is_warned_of_once(width: int, said: str) -> None:
    real, fake = torch.randn(2, 50, width)
    metrics = updated(GenerationMetrics("points", ["fid"]), real, fake)
    with pytest.warns(UserWarning, match=said):
        metrics.report()
    assert said.split("|")[-1] in metrics.report().notes[0]


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_points_of_high_quality_are_those_of_the_mixture(spread: float) -> None:
    centers = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    points = centers[torch.randint(3, (400,)) // 2] + spread * torch.randn(400, 2)
    metrics = GenerationMetrics(Points(centers, std=0.1), ["modes"])
    metrics.update(points, real=False)
    figures, expected = metrics.compute(), mixture_coverage(points, centers, std=0.1)
    assert 0 < figures["high_quality"] < 1
    assert figures["high_quality"] == expected.high_quality
    assert figures["modes"] == expected.modes
    torch.testing.assert_close(figures["mode_kl"], expected.reverse_kl)


def test_no_point_of_high_quality() -> None:
    metrics = GenerationMetrics(Points([[0.0, 0.0]], std=0.1), ["modes"])
    metrics.update(torch.ones(10, 2), real=False)
    assert metrics.compute() == {"high_quality": 0.0, "modes": 0.0}
