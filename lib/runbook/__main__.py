"""`python -m runbook` is `runbook`."""

from runbook.cli import main

if __name__ == "__main__":
    main()
