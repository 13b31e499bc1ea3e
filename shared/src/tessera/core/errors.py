"""Errors a person can act on: what was found, what was expected, what to try."""

from __future__ import annotations


class TesseraError(Exception):
    """An expected failure; the command line prints it without a traceback.

    Args:
        problem: What went wrong, naming the file or field.
        found: What was there.
        expected: What should have been there.
        hint: What to try next.
    """

    def __init__(
        self, problem: str, *, found: object = None, expected: object = None, hint: str | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.problem]
        if self.found is not None:
            parts.append(f"  found:    {self.found}")
        if self.expected is not None:
            parts.append(f"  expected: {self.expected}")
        if self.hint is not None:
            parts.append(f"  try:      {self.hint}")
        return "\n".join(parts)

    def one_line(self) -> str:
        """The same message on one line, for a row of a table."""
        return "; ".join(" ".join(part.split()) for part in str(self).splitlines())

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary: the fields as text, for what was found may not be picklable."""
        found, expected = (value if value is None else str(value) for value in (self.found, self.expected))
        return (_rebuild, (type(self), self.problem, found, expected, self.hint))


def _rebuild(
    kind: type[TesseraError], problem: str, found: object, expected: object, hint: str | None
) -> TesseraError:
    return kind(problem, found=found, expected=expected, hint=hint)


class ConfigError(TesseraError):
    """A preset, a YAML file or a ``--set`` value is not acceptable."""


class DataError(TesseraError):
    """A file, a manifest or a split is not acceptable."""


class PlacementError(DataError):
    """Two files that belong together do not lie at the same place."""


class BundleError(TesseraError):
    """A model bundle is incomplete, changed or made for something else."""
