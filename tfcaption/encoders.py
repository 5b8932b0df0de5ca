"""Lists the image encoders that go by a name; measures the named ones, or encoders in files, on this machine."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfcaption.backbones.families import FAMILIES, INPUTS, MEANINGS, check_size, is_file
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress

if TYPE_CHECKING:
    from tfcaption.backbones.summary import Summary

EXAMPLES = """examples:
  python -m tfcaption.encoders                            # the list
  python -m tfcaption.encoders resnet50 efficientnetv2b0  # regions, sizes of features, photos/s on this machine
  python -m tfcaption.encoders convnexttiny --layers      # the layers at which it can be split (finetune_from)
  python -m tfcaption.encoders clip.keras exported/vit --encoder_input torch"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.encoders", EXAMPLES)
    parser.add_argument(
        "encoders",
        nargs="*",
        metavar="ENCODER",
        help="a name, .keras file or SavedModel folder (default: list names)",
    )
    parser.add_argument("--all", action="store_true", help="measure every encoder that has a name; takes half an hour")
    parser.add_argument("--layers", action="store_true", help="also list the layers at which each can be split")
    parser.add_argument(
        "--image_size", type=int, default=224, help="side of the photos in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--encoder_input", choices=INPUTS, help="pixels that a file takes (default: found in its first layers)"
    )
    arguments = parser.parse_args(argv)
    encoders = list(dict.fromkeys([*arguments.encoders, *(FAMILIES if arguments.all else ())]))
    if not encoders:
        if arguments.layers:
            raise UsageError("--layers: name the encoders whose layers are to be listed")
        print(families_table())
        return 0
    if arguments.encoder_input and not any(map(is_file, encoders)):
        raise UsageError("--encoder_input: encoders that go by a name have their own; leave the option out")
    for encoder in encoders:
        check_size(encoder, arguments.image_size)
    start_tensorflow()
    import keras

    from tfcaption.backbones.loading import load_backbone
    from tfcaption.backbones.summary import BATCHES, summarize

    summaries = {}
    done = itertools.count(1)
    with Progress(len(encoders) * BATCHES, unit="batches", label="measuring") as progress:
        for encoder in encoders:
            backbone = load_backbone(
                encoder,
                image_size=arguments.image_size,
                weights=None if is_file(encoder) else "random",
                encoder_input=arguments.encoder_input if is_file(encoder) else None,
            )
            summaries[encoder] = summarize(backbone, progress=lambda: progress.update(next(done)))
            keras.backend.clear_session()  # it would keep every model
    print(summaries_table(summaries, arguments.image_size))
    for encoder, summary in summaries.items() if arguments.layers else ():
        print(f"\n{layers_table(encoder, summary)}")
    return 0


def families_table() -> str:
    """The encoders that go by a name, one a line, and what their input conventions mean."""
    heads = ("encoder", "channels", "parameters", "smallest size", "input", "finetune_from")
    rows = [
        (
            *(family.name, str(family.channels), millions(family.parameters), str(family.smallest_size)),
            *(family.input, family.cut),
        )
        for family in FAMILIES.values()
    ]
    used = dict.fromkeys(family.input for family in FAMILIES.values())
    meanings = "\n".join(f"  {convention:7} {MEANINGS[convention]}" for convention in used)
    return f"{_table(heads, rows, texts=(0, 4, 5))}\n\ninput:\n{meanings}"


def summaries_table(summaries: Mapping[str, "Summary"], image_size: int) -> str:
    """Measured encoders, one a line."""
    heads = (
        *("encoder", "regions", "channels", "trunk KB", "map KB", "pooled KB", "parameters", "beyond cut"),
        "photos/s",
    )
    rows = [
        (
            *(encoder, str(summary.regions), str(summary.channels)),
            *(f"{size / 1024:,.1f}" for size in summary.stage_bytes.values()),
            *(millions(summary.parameters), millions(summary.parameters_beyond), f"{summary.photos_per_second:,.1f}"),
        )
        for encoder, summary in summaries.items()
    ]
    return f"{_table(heads, rows)}\n\nKB: one photo's features of {image_size} x {image_size} pixels, in float16"


def layers_table(encoder: str, summary: "Summary") -> str:
    """The layers at which an encoder can be split, with the shape of one photo's features there."""
    rows = [(name, " x ".join(map(str, shape))) for name, shape in summary.shapes.items()]
    return _table((f"layers of {encoder}", "features"), rows, texts=(0, 1)) if rows else f"{encoder}: cannot be split"


def millions(number: int) -> str:
    """A number of weights, as tables show it."""
    return f"{number / 1e6:,.1f} M"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """Aligned columns: those in `texts` to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    cells = [
        [cell.ljust(widths[index]) if index in texts else cell.rjust(widths[index]) for index, cell in enumerate(row)]
        for row in (heads, *rows)
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)


if __name__ == "__main__":
    sys.exit(main())
