"""``python -m icechunk_core.cli``."""

from __future__ import annotations

from icechunk_core.cli import main

if __name__ == "__main__":
    main()
