"""Command lines: a parser whose help begins with examples."""

import argparse

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


def command_parser(module: str, examples: str, *, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser whose help begins with examples, and that takes no abbreviated options.

    Args:
        module: as it is run with `python -m`.
        examples: shown first.
        usage: the arguments in one line, where argparse's own would be too long.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        usage=usage and f"%(prog)s {usage}",
        description=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
