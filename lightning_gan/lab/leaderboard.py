"""Own results beside published ones, over all experiments that have both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_gan.lab.judges import Count, Judge
from lightning_gan.lab.published import Bar, Published, published_rows, read_bars
from lightning_gan.lab.recipes import build
from lightning_gan.lab.results import read_results, restored
from lightning_gan.lab.standings import Standing, judged_of, rank, standings
from lightning_gan.lab.tables import markdown


class Board(NamedTuple):
    """One benchmark's results.

    Attributes:
        name: Of the experiment.
        title: Its headline.
        called: Command line that asks for it.
        counts: The figures.
        own: Our methods.
        published: The papers' rows.
        bars: What is to be reached.
    """

    name: str
    title: str
    called: str
    counts: dict[str, Count]
    own: list[Standing]
    published: list[Published]
    bars: list[Bar]


def leaderboard(results: list[Path]) -> str:
    """Set own results beside published ones, from files of results alone.

    Args:
        results: Files that ``lightning-gan lab`` wrote. Those of experiments without published rows
            are left out.

    Returns:
        Markdown: a table over all benchmarks, in which a line is one of our methods, and one for
        each benchmark with all published rows. A row is beaten where a method's means are at least
        as good in each figure that the paper has, and better in one.

    Raises:
        ValueError: If a file cannot be read, or none has published rows to compare with.
    """
    contents = [read_results(path) for path in results]
    boards = [_board(content) for content in contents if content["settings"].get("published")]
    if not boards:
        raise ValueError(
            f"Expected the results of an experiment with published rows, such as pacgan_grid or "
            f"stacked_quarter, got {len(results)} files without. Run one, or give the "
            "--output_dir that holds some."
        )
    return "\n\n".join([_summary(boards), *map(_details, boards)])


def beaten(own: Standing, row: Published, counts: dict[str, Count]) -> bool:
    """Tell whether a method is at least as good as a published row in all, and better in one."""
    gains = []
    for name, (value, _) in row.figures.items():
        spread = own.spread(name)
        if spread.mean is None or not spread.complete:
            return False
        gains.append(counts[name].gain(spread.mean, value))
    return min(gains) >= 0 and max(gains) > 0


def _board(content: dict[str, Any]) -> Board:
    settings, rows = content["settings"], [restored(row) for row in content["rows"]]
    counts = build(Judge, settings["judge"]).counts  # type: ignore[type-abstract]
    recipes: dict[str, str] = {}
    for row in rows:  # those of the present recipes come first
        recipes.setdefault(row["method"], row["recipe"])
    present = [row for row in rows if recipes[row["method"]] == row["recipe"]]
    found = standings(present, {name: judged_of(settings["judged"], name) for name in recipes})
    own = sorted(found, key=lambda one: one.rank(counts))
    return Board(
        settings["name"],
        settings["title"],
        content.get("called") or f"lightning-gan lab {settings['name']}",
        counts,
        own,
        published_rows(settings["published"], counts),
        read_bars(settings.get("bars") or {}, counts),
    )


def _summary(boards: Sequence[Board]) -> str:
    head = ["benchmark", "method", "ours", "best published", "runs", "budget", "of theirs"]
    lines = [[*head, "published rows beaten", "reaches the bars", "command"]]
    for board in boards:
        for one in board.own:
            best = _best(board)
            won = [row for row in board.published if beaten(one, row, board.counts)]
            budget = [str(len(one.rows)), f"{one.steps:,} steps", _share(one, best)]
            said = [f"{len(won)} of {len(board.published)}", _reached(board, one)]
            figures = [_figures(board, one), _published(board, best)]
            command = f"`{one.command(board.called)}`"
            lines.append([board.name, one.method, *figures, *budget, *said, command])
    return "# Leaderboard\n\n" + markdown(lines)


def _details(board: Board) -> str:
    """Return a benchmark's table, all rows sorted together."""
    names = list(board.counts)
    labels = [board.counts[name].label for name in names]
    lines: list[tuple[tuple[float, ...], list[str]]] = []
    for one in board.own:
        figures = [one.spread(name).text(board.counts[name].digits) for name in names]
        runs = f"{len(one.rows)} (± std), {one.judged} generator"
        rest = [runs, one.budget(), f"`{one.command(board.called)}`"]
        lines.append((one.rank(board.counts), [f"**{one.method}**", *figures, *rest]))
    for row in board.published:
        figures = [row.text(name) for name in names]
        rest = [row.number_of_runs(), row.budget(), row.source]
        lines.append((_rank(board, row), [row.method, *figures, *rest]))
    ordered = [line for _, line in sorted(lines, key=lambda pair: pair[0])]
    head = ["method", *labels, "runs", "budget", "command or source"]
    notes = sorted({row["note"] for one in board.own for row in one.rows})
    said = "\n\nOurs: " + "; ".join(notes) + "." if notes else ""
    return f"## {board.title}\n\n{markdown([head, *ordered])}{said}"


def _rank(board: Board, row: Published) -> tuple[float, ...]:
    return rank({name: value for name, (value, _) in row.figures.items()}, board.counts)


def _best(board: Board) -> Published:
    """Return the published row with the lowest reverse divergence, or else the first in rank."""
    known = [row for row in board.published if "reverse_kl" in row.figures]
    if known:
        return min(known, key=lambda row: row.figures["reverse_kl"][0])
    return min(board.published, key=lambda row: _rank(board, row))


def _figures(board: Board, one: Standing) -> str:
    return ", ".join(
        f"{count.label} {one.spread(name).text(count.digits)}"
        for name, count in board.counts.items()
    )


def _published(board: Board, row: Published) -> str:
    figures = ", ".join(f"{board.counts[name].label} {row.text(name)}" for name in row.figures)
    return f"{row.method}: {figures}"


def _share(one: Standing, row: Published) -> str:
    """Return how much of a published row's training ours is, in samples seen."""
    return "-" if row.images is None else f"{one.images / row.images:.1%}"


def _reached(board: Board, one: Standing) -> str:
    if not board.bars:
        return "-"
    missed = one.missed(board.bars)
    said = ", ".join(bar.text(board.counts[bar.figure].label) for bar in missed)
    return f"misses {said}" if missed else "yes"
