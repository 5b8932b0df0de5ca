"""Exports a trained captioner: one SavedModel from the bytes of photo files to captions, in standard formats only.

The SavedModel holds decoding, resizing, the encoder with its fine-tuned layers, beam search and the vocabulary; loading
it needs TensorFlow alone. Prints its path.
"""

import sys
from collections.abc import Sequence

from tfcaption.decoding.options import CaptionOptions, add_caption_options, given_options
from tfcaption.runtime.command import add_subjects, command_parser, reports_errors, subjects
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.model_folder import find_run

EXAMPLES = """examples:
  python -m tfcaption.export runs/flickr8k_finetuned --output exports/flickr8k/1
  # tfcaption.caption and tfcaption.serve show two captions of each photo, unless they are asked for another number;
  # nbest_captions of the SavedModel itself has all five of the beam
  python -m tfcaption.export runs/flickr8k_frozen --output exports/frozen/1 --beam 5 --nbest 2
  # greedy search, the last checkpoint instead of the best
  python -m tfcaption.export runs/flickr8k_frozen --output exports/frozen/2 --beam 1 --checkpoint last
  # served by TensorFlow Serving
  docker run -p 8501:8501 -v $PWD/exports/flickr8k:/models/captioner -e MODEL_NAME=captioner tensorflow/serving
  echo "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w0 photo.jpg)\\"}]}" > request.json
  curl -d @request.json localhost:8501/v1/models/captioner:predict"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.export", EXAMPLES)
    add_subjects(parser, "--run", metavar="RUN", several=False, help="run directory")
    parser.add_argument(
        "--output", type=as_path, required=True, help="new folder; TensorFlow Serving expects a number as its name"
    )
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    add_caption_options(parser, takes_exports=False)
    arguments = parser.parse_args(argv)
    options = CaptionOptions().updated(given_options(arguments))
    run = find_run(*map(as_path, subjects(parser, arguments)))
    if arguments.output.exists():
        raise UsageError(f"--output {arguments.output}: exists; remove it, or choose another one")
    start_tensorflow()
    from tfcaption.serving.export import export_captioner

    path = export_captioner(run, arguments.output, options=options, checkpoint=arguments.checkpoint)
    print(f"export: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
