"""Exit codes of every command that works through cases."""

from __future__ import annotations

OK = 0
BAD_ARGUMENTS = 2
SOME_FAILED = 3
INTERRUPTED = 130
