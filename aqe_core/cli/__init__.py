"""The program ``aqe``. ``aqe --version`` is answered here, before anything is imported."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the program with the arguments of the process; return its exit code."""
    try:
        if sys.argv[1:] == ["--version"]:
            from aqe_core import __version__

            print(f"aqe {__version__}", flush=True)  # noqa: T201  # click would cost more than the answer
            return 0
        from aqe_core.cli.app import program
    except KeyboardInterrupt:
        return 130
    code: int = program.main(standalone_mode=False)
    return code
