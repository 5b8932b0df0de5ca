"""Reads a request for captions: photos in the body, in a form or as base64 in JSON, and the options in the address."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request

from tfcaption.preprocessing.photos import PhotoError
from tfcaption.serving.server_options import MAX_PHOTOS

INSTANCES = '{"instances": [{"b64": "..."}, ...]}'
INPUT = "images"  # the input of an export's signature


class RequestError(Exception):
    """A request that cannot be answered; becomes {"error": {"status", "message"}}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class UploadedPhoto:
    """A photo of a request."""

    name: str  # of the file in a form, else empty
    content: bytes | PhotoError  # of the file, in any format; or why there is none


@dataclass(frozen=True)
class CaptionRequest:
    """What a request asks for."""

    photos: list[UploadedPhoto]  # 1 to MAX_PHOTOS
    nbest: int  # captions of each photo
    attention: bool  # whether the answer has it, if the model gives it


def read_caption_request(request: Request, *, available: int, shown: int) -> CaptionRequest:
    """Photos and options of a POST request.

    Args:
        request: its body is a form with files, JSON with instances, or else one photo. What a body is that is no form
            is decided by its first character: no format of photos begins like JSON.
        available: captions that the model gives for a photo.
        shown: those that a request gets which does not say how many.

    Raises:
        RequestError: 400 for a body or an option that is not understood, 413 for too many photos.
    """
    nbest = _number(request.args, "nbest", range(1, available + 1), default=shown)
    attention = _number(request.args, "attention", range(2), default=1)
    if unknown := sorted(request.args.keys() - {"nbest", "attention"}):
        raise RequestError(
            400, f"?{unknown[0][:20]}: no such option; there are ?nbest=1 to {available} and ?attention=0"
        )
    if request.mimetype == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True) if file.filename]
        if not files:
            raise RequestError(400, "the form holds no file; send photos as files of the form")
        photos = [UploadedPhoto(file.filename or "", file.read()) for file in files]
    else:
        body = request.get_data()
        is_json = body[:64].lstrip()[:1] in (b"{", b"[")
        photos = _instances(body) if is_json else [UploadedPhoto("", body)]
    if len(photos) > MAX_PHOTOS:
        raise RequestError(413, f"more than {MAX_PHOTOS} photos")
    return CaptionRequest(photos, nbest, bool(attention))


def _number(options: Mapping[str, str], name: str, allowed: range, *, default: int) -> int:
    text = options.get(name, str(default))
    if text not in map(str, allowed):
        raise RequestError(400, f"?{name}={text[:20]}: must be a number from {allowed[0]} to {allowed[-1]}")
    return int(text)


def _instances(body: bytes) -> list[UploadedPhoto]:
    """The photos of {"instances": [...]}, as TensorFlow Serving takes them."""
    try:
        instances = json.loads(body)["instances"]
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON ({error}); send {INSTANCES}, or a photo as it is") from error
    except (KeyError, TypeError):
        instances = None
    if not isinstance(instances, Sequence) or isinstance(instances, str) or not instances:
        raise RequestError(400, f"the body has no list of instances; send {INSTANCES}, or a photo as it is")
    return [UploadedPhoto("", _decoded(instance, index)) for index, instance in enumerate(instances)]


def _decoded(instance: Any, index: int) -> bytes | PhotoError:
    """The photo of {"b64": TEXT}, or of {"images": {"b64": TEXT}}."""
    if isinstance(instance, Mapping) and isinstance(instance.get(INPUT), Mapping):
        instance = instance[INPUT]
    if not isinstance(instance, Mapping) or not isinstance(instance.get("b64"), str):
        raise RequestError(400, f'instances[{index}]: has no "b64"; send {INSTANCES}')
    try:
        return base64.b64decode(instance["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        return PhotoError("unreadable", f"not base64: {error}")
