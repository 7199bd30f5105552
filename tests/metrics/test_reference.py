import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_gan.functional import moments, nearest_distances, neighborhood
from lightning_gan.metrics import GenerationMetrics, Reference, cache_key
from lightning_gan.metrics import reference as module
from lightning_gan.metrics.real_samples import LoaderOfSamples
from lightning_gan.training.sealed_file import write_sealed
from tests.metrics.stubs import Counting, images, sample_set
from tests.ranks import Ranks
from tests.training.test_distributed import join

CPU = torch.device("cpu")


def measured(neighbors: bool = True) -> Reference:
    real, held_out = torch.randn(40, 3), torch.randn(30, 3)
    reference = Reference.measure(real, held_out if neighbors else None, neighbors)
    return reference._replace(held_out="others", sample_shape=(3,))


def assert_equal(actual: Reference, expected: Reference) -> None:
    assert type(actual.moments) is type(expected.moments)
    assert type(actual.neighborhood) is type(expected.neighborhood)
    assert actual.levels == expected.levels
    assert actual[5:7] == expected[5:7]
    for one, other in zip(actual[:5] + actual[7:], expected[:5] + expected[7:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def measure(
    folder: Path,
    extractor: Counting | None = None,
    held_out: Any = None,
    metrics: list[str] | None = None,
    **samples: Any,
) -> tuple[int, Reference]:
    """Measure a set with a new metric; return how many samples it described, and the reference."""
    extractor = extractor or Counting()
    extractor.seen = 0
    metric = GenerationMetrics(extractor, metrics or ["kid", "memorization"])
    metric.measure_real(sample_set(**{"n": 60, **samples}), held_out, folder)
    assert metric.reference is not None
    return extractor.seen, metric.reference


def files(folder: Path) -> list[Path]:
    return sorted((folder / "features").iterdir())


def test_all_of_the_real_side() -> None:
    real, held_out = torch.randn(40, 3), torch.randn(30, 3)
    reference = Reference.measure(real, held_out)
    near = neighborhood(real)
    expected = Reference(
        real, moments(real), near, reference.levels, nearest_distances(held_out, real)
    )
    assert_equal(reference, expected)
    assert reference.levels is not None
    assert reference.levels.size == 20
    assert_equal(Reference.measure(real, neighbors=False), Reference(real, moments(real)))


@pytest.mark.parametrize("neighbors", [True, False])
def test_it_is_read_back(neighbors: bool, tmp_path: Path) -> None:
    reference = measured(neighbors)
    reference.save(tmp_path / "new" / "it.pt")
    loaded = Reference.load(tmp_path / "new" / "it.pt")
    assert loaded is not None
    assert_equal(loaded, reference)
    assert_equal(loaded.to(CPU), reference)


def test_it_moves_as_a_whole() -> None:
    moved = measured().to(torch.device("meta"))
    tensors = [moved.features, *moved.moments[1:], *(moved.neighborhood or ())]
    assert all(tensor.device.type == "meta" for tensor in [*tensors, moved.held_out_nearest])


@pytest.mark.parametrize(
    ("neighbors", "held_out", "serves"),
    [(True, None, True), (True, "others", True), (True, "third", False), (False, None, True)],
)
def test_what_it_serves(neighbors: bool, held_out: str | None, serves: bool) -> None:
    assert measured().serves(neighbors, held_out) is serves
    assert measured(neighbors=False).serves(neighbors) is not neighbors


@pytest.mark.parametrize(("neighbors", "least"), [(True, 20), (False, 2)])
def test_too_few_samples(neighbors: bool, least: int) -> None:
    with pytest.raises(ValueError, match=f"at least {least} real samples.* got {least - 1}"):
        Reference.measure(torch.randn(least - 1, 3), neighbors=neighbors)
    assert Reference.measure(torch.randn(least, 3), neighbors=neighbors)


def test_the_same_content_under_another_name_is_found(tmp_path: Path) -> None:
    first, reference = measure(tmp_path)
    second, again = measure(tmp_path)
    assert (first, second) == (60, 0)
    assert_equal(again, reference)
    assert len(files(tmp_path)) == 1
    assert measure(tmp_path, metrics=["fid"])[0] == 0  # of which there is more than needed
    assert measure(tmp_path / "elsewhere")[0] == 60


@pytest.mark.parametrize(
    "change",
    [
        {"n": 61},
        {"seed": 1},
        {"count": 59},
        {"extractor": Counting(seed=1)},
        {"extractor": Counting(resize="other")},
        {"extractor": Counting(layer="other")},
    ],
)
def test_what_has_changed_is_measured_anew(change: dict[str, Any], tmp_path: Path) -> None:
    measure(tmp_path, metrics=["fid"])
    seen, reference = measure(tmp_path, metrics=["fid"], **change)
    assert seen == len(reference.features) == change.get("n", change.get("count", 60))
    assert len(files(tmp_path)) == 2


def test_other_held_out_samples_leave_the_features(tmp_path: Path) -> None:
    seen, values = [], []
    for held_out in (sample_set(30, 3), sample_set(30, 3), sample_set(25, 4), None):
        described, reference = measure(tmp_path, held_out=held_out)
        seen.append(described)
        values.append(reference.held_out_nearest)
    assert seen == [60 + 30, 0, 25, 0]
    assert [None if value is None else len(value) for value in values] == [30, 30, 25, None]
    described, _ = measure(tmp_path, held_out=sample_set(25, 4))
    assert described == 0
    assert len(files(tmp_path)) == 1


def test_features_of_a_smaller_comparison_serve_the_larger(tmp_path: Path) -> None:
    assert measure(tmp_path, metrics=["fid"], held_out=sample_set(30, 3))[0] == 60
    seen, reference = measure(tmp_path, held_out=sample_set(30, 3))
    assert seen == 30
    assert reference.neighborhood is not None
    assert_equal(measure(tmp_path / "new", held_out=sample_set(30, 3))[1], reference)


def test_another_layout_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(tmp_path, metrics=["fid"])
    monkeypatch.setattr(module, "LAYOUT", module.LAYOUT + 1)
    assert measure(tmp_path, metrics=["fid"])[0] == 60
    assert len(files(tmp_path)) == 2


def test_a_key_is_of_all_its_parts() -> None:
    keys = [cache_key(*parts) for parts in (("a", "b"), ("b", "a"), ("a",), ("a", "b", None))]
    assert len(set(keys)) == 4
    assert cache_key("a", "b") == keys[0]


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    torch.save({"features": torch.zeros(60, 4)}, path)


class Evil:
    """What runs code where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def _evil(path: Path) -> None:
    write_sealed({"features": Evil(path.with_name("proof"))}, path)


@pytest.mark.parametrize("harm", [_torn, _flipped, _foreign, _evil, Path.unlink])
def test_a_damaged_file_is_replaced(harm: Any, tmp_path: Path) -> None:
    _, reference = measure(tmp_path, metrics=["fid"])
    [path] = files(tmp_path)
    harm(path)
    if path.exists():
        with pytest.warns(UserWarning, match="The features of the real samples are extracted anew"):
            seen, again = measure(tmp_path, metrics=["fid"])
    else:
        seen, again = measure(tmp_path, metrics=["fid"])
    assert seen == 60
    assert_equal(again, reference)
    assert measure(tmp_path, metrics=["fid"])[0] == 0
    assert files(tmp_path) == [path]  # and no code was run


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("no folder")
    for _ in range(2):
        with pytest.warns(UserWarning, match="The features of the real samples are not cached"):
            assert measure(tmp_path, metrics=["fid"])[0] == 60


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(tmp_path, metrics=["fid"])

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.warns(UserWarning, match="Permission denied. The features .* anew"),
        pytest.warns(UserWarning, match="not cached"),
    ):
        assert measure(tmp_path, metrics=["fid"])[0] == 60


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_GAN_CACHE", str(tmp_path))
    GenerationMetrics(Counting(), ["fid"]).measure_real(sample_set(60))
    assert len(files(tmp_path)) == 1


def _measure_part(rank: int, folder: Path, n: int, held_out: int | None) -> tuple[int, Reference]:
    join()
    others = None if held_out is None else sample_set(held_out, 3, ranks=(2, rank))
    metrics = None if others else ["fid"]
    return measure(folder, held_out=others, metrics=metrics, n=n, ranks=(2, rank))


@pytest.mark.parametrize(("n", "held_out"), [(61, 31), (61, 1), (2, None)])
def test_two_processes_measure_what_one_does(
    n: int, held_out: int | None, tmp_path: Path, ranks: Ranks
) -> None:
    others = None if held_out is None else sample_set(held_out, 3)
    metrics = None if others else ["fid"]
    _, alone = measure(tmp_path / "alone", held_out=others, metrics=metrics, n=n)
    for described in (n + (held_out or 0), 0):
        together = ranks.run(_measure_part, tmp_path, n, held_out)
        assert sum(seen for seen, _ in together) == described
        for _, reference in together:
            assert_equal(reference, alone)
    assert [path.name for path in files(tmp_path)] == [p.name for p in files(tmp_path / "alone")]


def _write_and_read(rank: int, path: Path, reference: Reference) -> None:
    for _ in range(20):
        reference.save(path)
        loaded = Reference.load(path)
        assert loaded is not None
        assert_equal(loaded, reference)


def test_runs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path, ranks: Ranks) -> None:
    ranks.run(_write_and_read, tmp_path / "it.pt", measured())
    assert [path.name for path in tmp_path.iterdir()] == ["it.pt"]


def bad_set(samples: Tensor) -> Any:
    return LoaderOfSamples([samples], None, CPU)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (bad_set(images(30).float()), r"uint8 or in \[-1, 1\], got values from 0 to 255"),
        (bad_set(torch.full((30, 1, 4, 4), torch.nan)), r"values from nan to nan"),
        (sample_set(12), "at least 20 real samples to compare neighbours; .* got 12"),
        (LoaderOfSamples([], None, CPU), "Expected real samples, got none"),
    ],
)
def test_bad_real_samples(samples: Any, message: str, tmp_path: Path) -> None:
    metrics = GenerationMetrics(Counting())
    with pytest.raises(ValueError, match=message):
        metrics.measure_real(samples, sample_set(30, 3), tmp_path)
