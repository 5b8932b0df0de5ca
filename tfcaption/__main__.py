"""`python -m tfcaption NAME ...`: the console script, where its folder is not on the PATH."""

import sys

from tfcaption.cli import main

if __name__ == "__main__":
    sys.exit(main(script="python -m tfcaption"))
