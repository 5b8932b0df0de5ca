"""`load`: a trained captioner from a run or an export, for photos in any form."""

import os
from collections.abc import Iterable
from typing import Any, Literal, Unpack, overload

from tfcaption.api.caption import Caption, caption_of
from tfcaption.api.options import SearchArguments, search_options
from tfcaption.api.photos import Photo, photo_name, photo_reader
from tfcaption.api.process import tensorflow_quiet
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.runtime.errors import UsageError
from tfcaption.serving.model_folder import ModelFolder, find_model
from tfcaption.serving.photo_captioner import BATCH_SIZE, caption_photos


def load(path: str | os.PathLike[str], *, checkpoint: Literal["best", "last"] | None = None) -> "Captioner":
    """Load a trained captioner.

        captioner = tfcaption.load("runs/mine")
        print(captioner.caption("photo.jpg").text)

    Args:
        path: a run directory, an export, or the folder above numbered exports, of which the newest is taken; or an
            export on the Hugging Face Hub, "hf://OWNER/NAME" or "hf://OWNER/NAME@REVISION", which is downloaded into
            the cache of `huggingface_hub`. An export is a program: load those of owners that you trust.
        checkpoint: of a run: "best" (default; by the dev metric that training watched) or "last".

    Returns:
        A captioner that computes in float32, whatever Keras' precision policy is.

    Raises:
        UsageError: the path is neither a run nor an export; the message says what it is.
        RunError: the run has no such checkpoint.
        ExportError: the export cannot be loaded.
        HubError: the export cannot be downloaded.
    """
    return Captioner(find_model(path), checkpoint=checkpoint)


class Captioner:
    """A trained captioner; `load` and `Run.captioner` return one."""

    def __init__(self, model: ModelFolder, *, checkpoint: str | None = None) -> None:
        self.path = model.path
        """The run directory or export."""
        model.options({}, checkpoint=checkpoint)  # before TensorFlow takes 4 s to start
        with tensorflow_quiet():
            self._captioner = model.open(checkpoint=checkpoint)

    def __repr__(self) -> str:
        return f"Captioner({str(self.path)!r}: {self.options})"

    @property
    def options(self) -> CaptionOptions:
        """Options of the search that `caption` uses unless it is given others: those that an export was made with."""
        return self._captioner.options

    @overload
    def caption(
        self,
        photos: list[Any] | tuple[Any, ...],
        *,
        errors: Literal["raise"] = "raise",
        attention: bool = False,
        **search: Unpack[SearchArguments],
    ) -> list[Caption]: ...

    @overload
    def caption(
        self,
        photos: list[Any] | tuple[Any, ...],
        *,
        errors: Literal["return"],
        attention: bool = False,
        **search: Unpack[SearchArguments],
    ) -> list[Caption | PhotoError]: ...

    @overload
    def caption(
        self,
        photos: Photo,
        *,
        errors: Literal["raise"] = "raise",
        attention: bool = False,
        **search: Unpack[SearchArguments],
    ) -> Caption: ...

    def caption(
        self,
        photos: Any,
        *,
        errors: Literal["raise", "return"] = "raise",
        attention: bool = False,
        beam: int | None = None,
        nbest: int | None = None,
        no_repeat_ngram: int | None = None,
        min_words: int | None = None,
        length_alpha: float | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Any:
        """Caption a photo, or a list of photos.

        The photo is prepared exactly as the training photos were. None for an option of the search means its default,
        which for an export is what it was exported with.

        Args:
            photos: the path or the bytes of a photo's file, a PIL image, or a (height, width, 3) uint8 array or tensor,
                RGB; or a list of any of them.
            errors: what a damaged photo in a list does: "raise" raises its error, "return" puts it in its place.
            attention: whether to compute `Caption.attention`, if the model has it.
            beam: width of the beam search (default 3); 1 is greedy.
            nbest: captions of each photo in `Caption.nbest` (default 1).
            no_repeat_ngram: no word sequence of this length occurs twice (default 3); 0 allows repeats.
            min_words: the least number of words (default 0).
            length_alpha: 0 prefers short captions, 1 ranks by the mean log-probability (default 0.7).
            temperature: sample instead of searching, with logits divided by it.
            top_p: sample among the most probable words of this probability together.
            seed: of sampling (default 0); equal seeds give equal captions.

        Returns:
            A `Caption` for a photo, a list of them for a list, in its order.

        Raises:
            PhotoError: a photo is missing, damaged or too large; the message names its file.
            UsageError: not a photo, or an option that is out of its range or that an export was not made with.
        """
        several = isinstance(photos, list | tuple)
        chosen = list(photos) if several else [photos]
        given = {
            "beam": beam,
            "nbest": nbest,
            "no_repeat_ngram": no_repeat_ngram,
            "min_words": min_words,
            "length_alpha": length_alpha,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
        }
        if errors not in ("raise", "return"):
            raise UsageError(f'errors={errors!r}: must be "raise" or "return"')
        options = search_options(self.options, {name: value for name, value in given.items() if value is not None})
        captions = []
        for caption in self._captions(chosen, options, attention=attention):
            if isinstance(caption, PhotoError) and not (several and errors == "return"):
                raise caption
            captions.append(caption)
        return captions if several else captions[0]

    def _captions(
        self, photos: list[Photo], options: CaptionOptions, *, attention: bool
    ) -> Iterable[Caption | PhotoError]:
        readers = [photo_reader(photo) for photo in photos]
        with tensorflow_quiet():
            captioner = self._captioner.with_options(options, attention=attention)
            for start in range(0, len(photos), BATCH_SIZE):
                group = photos[start : start + BATCH_SIZE]
                results = caption_photos(captioner, readers[start : start + BATCH_SIZE])
                for photo, result in zip(group, results, strict=True):
                    if isinstance(result, PhotoError):
                        name = photo_name(photo)
                        detail = ": ".join(part for part in (name, result.detail) if part)
                        yield PhotoError(result.reason, detail)
                    else:
                        yield caption_of(result, photo, nbest=options.nbest)
