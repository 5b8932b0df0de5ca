"""docs/configs.md, from the configs and the fields of `tfcaption/config.py`: `python -m tests.support.config_page`."""

from pathlib import Path

from tfcaption.config import describe_config, named_configs
from tfcaption.configs import read_header

PAGE = Path(__file__).parents[2] / "docs" / "configs.md"
TOP = """# Configs

A config is a YAML file with the fields that differ from the defaults below, or from another config that it names as
its `base`. This page is generated from the code by `make docs`.

## Configs that come with tfcaption

`--config NAME` finds them in any folder, and so does `base: NAME` in a config of your own. Anything with a folder or an
ending (`my.yaml`, `./small`) is the path of a file. `tfcaption configs` prints this list, `tfcaption configs NAME` one
of them.

| config | what it is for | result |
| --- | --- | --- |
"""
FIELDS = """
## Fields

`--set train.epochs=3 model.glove=null` overrides fields of any config. Text is taken as it is written: `run=2024-05-01`
needs no quotation marks. `tfcaption train --print_config` prints the text below, and with `--config NAME` all fields of
that config with the defaults it replaces, as a file to be changed.

```yaml
"""


def page() -> str:
    """The text of the page."""
    headers = {name: read_header(path) for name, path in named_configs().items()}
    rows = "".join(f"| `{name}` | {header.purpose} | {header.result} |\n" for name, header in headers.items())
    return f"{TOP}{rows}{FIELDS}{describe_config()}```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"page: {PAGE}")
