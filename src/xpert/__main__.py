"""`python -m xpert` is `xpert`."""

from __future__ import annotations

from xpert.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
