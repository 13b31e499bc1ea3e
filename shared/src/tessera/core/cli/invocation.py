"""How the command line was started; none of it where a program calls a command itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.core.inference.flight import Death


@dataclass(frozen=True)
class Invocation:
    """How the command line was started.

    Args:
        arguments: As they were typed.
        watched: Whether another process watches this one.
        death: How the process ended that this one replaces.
    """

    arguments: tuple[str, ...]
    watched: bool = False
    death: Death | None = None
