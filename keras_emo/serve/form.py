"""The one file of a multipart form, picked out as the form comes."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from keras_emo.serve.refusals import Refusal, Refused

FIELD = "file"
_MAX_NAME = 255  # characters


class FileForm:
    """Takes a form block by block; its file's bytes gather in ``pending``.

    name: the client's own name of the file, without folders, or None. Raises Refusal
    (bad_request) for whatever is not a form with this one file.
    """

    def __init__(self, content_type: str, max_parts: int):
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise _bad("expected multipart/form-data with a boundary")
        self.name: str | None = None
        self.pending = bytearray()
        self._max_parts, self._n_parts = max_parts, 0
        self._found = self._inside = self._complete = False
        self._header, self._value = bytearray(), bytearray()
        self._disposition: str | None = None
        try:
            self._parser = MultipartParser(boundary, {
                "on_part_begin": self._begin_part, "on_part_data": self._take,
                "on_header_field": self._take_header, "on_header_value": self._take_value,
                "on_header_end": self._end_header, "on_headers_finished": self._open_part,
                "on_part_end": self._end_part, "on_end": self._end,
            })  # fmt: skip
        except FormParserError as e:
            raise _bad(str(e)) from None

    def write(self, block: bytes) -> None:
        """Take the next bytes."""
        try:
            self._parser.write(block)
        except FormParserError:
            raise _bad("the form is malformed") from None

    def finish(self) -> None:
        """Nothing more comes."""
        if not self._complete:
            raise _bad("the form ends early")
        if not self._found:
            raise _bad(f"the form has no file {FIELD!r}")

    def _begin_part(self) -> None:
        self._n_parts += 1
        self._disposition = None
        if self._n_parts > self._max_parts:
            raise _bad(f"more than {self._max_parts} parts")

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._header.clear()
        self._value.clear()

    def _open_part(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or options.get(b"name") != FIELD.encode():
            raise _bad(f"only a file {FIELD!r} is taken")
        if self._found:
            raise _bad(f"more than one file {FIELD!r}")
        self._found = self._inside = True
        self.name = clean_name(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.pending += data[start:end]

    def _end_part(self) -> None:
        self._inside = False

    def _end(self) -> None:
        self._complete = True


def clean_name(name: str) -> str | None:
    """A client's file name without folders and control characters; None where nothing is left."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name[-_MAX_NAME:] or None


def _bad(cause: str) -> Refusal:
    return Refusal(Refused.BAD_REQUEST, cause)
