"""Tables as Markdown."""

from collections.abc import Sequence


def markdown(lines: Sequence[Sequence[object]]) -> str:
    """Return a table whose first line is its head.

    Example:
        >>> print(markdown([["method", "seed"], ["plain", 0]]))
        | method | seed |
        |---|---|
        | plain | 0 |
    """
    head, *body = (f"| {' | '.join(map(str, line))} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])
