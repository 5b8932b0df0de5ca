"""What names an encoder: the fields of a config and the options of a job; checked without TensorFlow."""

from dataclasses import dataclass

from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import EncoderInput, check_size, is_file
from tfcaption.records.dataset_info import IMPORTED
from tfcaption.runtime.paths import as_path


@dataclass(frozen=True)
class EncoderSettings:
    """An encoder, as a user names it."""

    encoders: tuple[str, ...] = ("resnet50",)  # names of families, `.keras` files or SavedModel folders
    weights: str | None = None  # of the named ones, see `load_backbone`
    encoder_input: EncoderInput | None = None  # None: that of the family, or of the file's first layers
    finetune_from: str | None = None  # layer below which nothing trains; None: the default of the encoder

    def check(self, image_size: int, *, finetuned: bool = False) -> None:
        """Find names that do not exist, files that are missing and sizes that do not fit, before TensorFlow starts.

        Args:
            image_size: side of the photos in pixels.
            finetuned: whether the encoder is to be trained.

        Raises:
            EncoderError: the encoder cannot be used.
        """
        if not self.encoders:
            raise EncoderError("[]: name at least one encoder")
        if self.encoders == (IMPORTED,):
            return
        for encoder in self.encoders:
            check_size(encoder, image_size)
        self._check_layers(finetuned)
        named = [encoder for encoder in self.encoders if not is_file(encoder)]
        if self.weights and not named:
            raise EncoderError(
                f"{self.weights}: {self.encoders[0]} has its own weights; leave the option out", "weights"
            )
        if self.encoder_input and len(named) == len(self.encoders) > 1:
            raise EncoderError(
                f"{self.encoder_input}: {' and '.join(named)} have their own input conventions; leave the option out",
                "encoder_input",
            )

    def _check_layers(self, finetuned: bool) -> None:
        """Refuse to split or to train what cannot be."""
        if len(self.encoders) > 1 and self.finetune_from:
            raise EncoderError(f"{self.finetune_from}: of several encoders none can be split", "finetune_from")
        if len(self.encoders) > 1 and finetuned:
            names = " and ".join(self.encoders)
            raise EncoderError(f"{names}: several encoders cannot be fine-tuned together; fine-tune one of them")
        if finetuned and is_file(self.encoders[0]) and as_path(self.encoders[0]).is_dir():
            raise EncoderError(
                f"{self.encoders[0]}: a SavedModel cannot be fine-tuned; name a .keras file of the model"
            )

    def input_of(self, encoder: str) -> EncoderInput | None:
        """The input convention that is stated for one of the encoders; of several, for the files only."""
        return self.encoder_input if len(self.encoders) == 1 or is_file(encoder) else None
