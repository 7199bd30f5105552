from typing import Any

import pytest
import torch

from lightning_gan.data import GaussianMixture
from lightning_gan.lab import Row
from lightning_gan.lab.catalog import packaged
from lightning_gan.lab.failures import FIGURES, Failures
from lightning_gan.lab.failures_cases import CASES, MOMENTS, TRAININGS, BadTraining, Ring

STD = 0.05


@pytest.fixture
def ring() -> Ring:
    random = torch.Generator().manual_seed(0)
    ring = Ring(GaussianMixture("ring").centers, STD, torch.zeros(4000, 2), random)
    return ring._replace(real=ring.draw())


def shares(samples: torch.Tensor, ring: Ring) -> list[float]:
    """Return how much of the samples is nearest to each mode, of those within 4 deviations."""
    distance, nearest = torch.cdist(samples, ring.centers).min(dim=1)
    counts = nearest[distance < 4 * STD].bincount(minlength=8)
    return (counts / len(samples)).tolist()


def test_samples_of_modes(ring: Ring) -> None:
    assert shares(CASES["the data"][0](ring), ring) == pytest.approx([1 / 8] * 8, abs=0.02)
    half = shares(CASES["every other mode"][0](ring), ring)
    assert half == pytest.approx([0.25, 0.0] * 4, abs=0.03)
    assert shares(CASES["one mode"][0](ring), ring)[0] == pytest.approx(1.0, abs=0.01)
    often = shares(CASES["one mode too often"][0](ring), ring)
    assert often == pytest.approx([91 / 98] + [1 / 98] * 7, abs=0.02)
    assert sum(shares(CASES["between the modes"][0](ring), ring)) < 0.01


@pytest.mark.parametrize("case", MOMENTS)
def test_cases_of_the_same_moments(ring: Ring, case: str) -> None:
    samples = CASES[case][0](ring)
    expected = (0.5 + STD**2) * torch.eye(2)  # of a ring of radius 1
    torch.testing.assert_close(samples.T.cov(), expected, rtol=0, atol=0.03)
    torch.testing.assert_close(samples.mean(dim=0), torch.zeros(2), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("case", "scale"),
    [("modes shrunk to 0.2", 0.2), ("modes widened to 1.5", 1.5), ("modes widened to 4", 4)],
)
def test_widths(ring: Ring, case: str, scale: float) -> None:
    narrow = ring._replace(std=STD / 10)  # so that wide modes do not meet
    samples = CASES[case][0](narrow)
    offsets = samples - ring.centers[torch.cdist(samples, ring.centers).argmin(dim=1)]
    assert offsets.std().item() == pytest.approx(scale * STD / 10, rel=0.05)


def test_copies_are_real_samples(ring: Ring) -> None:
    copies = CASES["copies of the data"][0](ring)
    assert bool((copies[:100, None] == ring.real).all(dim=2).any(dim=1).all())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    experiment = Failures(num_samples=600)
    wanted = ["the data", "every other mode", "noise, same moments", "copies of the data"]
    trials = [trial for trial in experiment.trials() if trial["case"] in wanted]
    return [trial | experiment.measure(**trial) for trial in trials]


def test_measurement(rows: list[Row]) -> None:
    by_case = {row["case"]: row for row in rows}
    for case, row in by_case.items():
        assert row["verdict"] == CASES[case][1]
        assert row["sentence"].startswith(row["verdict"])
        assert len(row["points"]) == 400
    assert by_case["every other mode"]["modes"] == 4
    assert by_case["every other mode"]["recall"] == pytest.approx(0.5, abs=0.08)
    assert max(by_case[case]["distance"] for case in MOMENTS) < 0.02
    assert by_case["copies of the data"]["memorization"] > 0.99


def test_a_gan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAININGS, "GAN, 400 steps", BadTraining(2))
    experiment = Failures(num_samples=100)
    row = experiment.measure(case="GAN, 400 steps", seed=1)
    assert row["verdict"] != "healthy"
    assert row == experiment.measure(case="GAN, 400 steps", seed=1)
    assert row["points"] != experiment.measure(case="GAN, 400 steps", seed=2)["points"]


def made(**changes: Any) -> list[Row]:
    """Return rows in which every case gets its name; GANs miss modes and are called garbage."""
    rows = []
    for trial in Failures().trials():
        case = trial["case"]
        name = CASES[case][1] if case in CASES else "garbage"
        held: Row = {"distance": 0.001, "verdict": name, "modes": 4, "high_quality": 0.2}
        held |= dict.fromkeys((*FIGURES, "memorization"), 0.9) | {"points": [[0.0, 0.0]]}
        rows.append(trial | held | changes.get(case.replace(" ", "_"), {}))
    return rows


def test_findings() -> None:
    experiment = Failures()
    assert {finding.holds for finding in experiment.findings([])} == {None}
    assert [finding.holds for finding in experiment.findings(made())] == [True] * 8
    names = experiment.findings(made(one_mode={"verdict": "garbage"}))[0]
    assert not names.holds
    assert names.evidence == "8 of 9; one mode (seed 0): garbage"
    weak = experiment.findings(made(**{"modes_widened_to_1.5": {"verdict": "healthy"}}))
    assert [finding.holds for finding in weak] == [True, False, *[True] * 6]
    far = made(every_other_mode={"distance": 1.0})
    assert [finding.holds for finding in experiment.findings(far)] == [
        True,
        True,
        False,
        *[True] * 5,
    ]
    alike = made(every_other_mode={"verdict": "healthy"})
    assert [finding.holds for finding in experiment.findings(alike)][:3] == [False, True, False]


def test_a_figure_that_tells_all_apart() -> None:
    names = list(dict.fromkeys(name for _, name in CASES.values()))
    rows = [row | {"recall": names.index(row["verdict"]) / 10} for row in made()]
    holds = [finding.holds for finding in Failures().findings(rows)]
    assert holds == [True, True, True, True, False, True, True, True]


def test_gans_whose_verdict_is_wrong() -> None:
    rows = [row for row in made() if row["case"] in TRAININGS]
    rows[0] |= {"modes": 8, "high_quality": 0.9}
    last = Failures().findings(rows)[-1]
    assert not last.holds
    assert last.evidence.startswith("3 of 4; GAN, stopped after 60 steps: 8 modes garbage; ")


def test_figure_and_table(rows: list[Row]) -> None:
    experiment = Failures()
    figure = experiment.draw(rows)
    assert figure.get_suptitle() == Failures.title
    assert [axes.get_title() for axes in figure.axes[:4]] == [row["verdict"] for row in rows]
    assert len(figure.axes[7].patches) == 5
    assert len(experiment.draw([]).axes) == 14
    lines = experiment.table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[2].endswith("| healthy 1 |")


@pytest.mark.parametrize("name", ["std", "num_samples"])
def test_numbers_that_are_not_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"Expected '{name}' to be positive"):
        Failures(**{name: 0})  # type: ignore[arg-type]


def test_file() -> None:
    specification = packaged("failures")
    assert specification.experiment_class() is Failures
    trials = list(Failures(**specification.init_args).trials())
    assert len(trials) == 3 * (len(CASES) + len(TRAININGS))
