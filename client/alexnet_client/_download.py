"""A web address in, the bytes of the image behind it out.

Called by: ``_preparing.py``, with ``allow_urls=True``. The standard library does the work, so proxies are those of the
environment (``HTTPS_PROXY``, ...) and certificates those of the system.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ._errors import InvalidImage
from ._images import is_url
from ._retry import Deadline

LARGEST_DOWNLOAD_BYTES = 256 * 1024 * 1024
"""More than any photograph; and what one address can make this process hold in memory."""
MOST_REDIRECTS = 5
CHUNK_BYTES = 256 * 1024

# How the formats that the server decodes begin; WebP's RIFF is also that of sounds and films.
SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
# What careless servers call an image; anything else that is not image/* is taken at its word unless its bytes differ.
UNTYPED = ("", "application/octet-stream", "binary/octet-stream")


def image_bytes_from_url(url: str, deadline: Deadline) -> bytes:
    """Download an image.

    The whole of it, from the look-up of the name to the last byte, is over by ``deadline``: a server that sends a byte
    a second does not hold the caller longer. It is done in a thread of its own, for some of these steps know no time.

    Raises:
        InvalidImage: The address is malformed, nobody answers there, the answer is an error, too large, or no image.
        DeadlineExceeded: It is not here in time.
    """
    download = _Download(_checked(url), time.monotonic() + deadline.remaining_s)
    threading.Thread(target=download.run, name="alexnet-client-download", daemon=True).start()
    try:
        answer = download.done.get(timeout=max(0.0, deadline.remaining_s))
    except queue.Empty:
        download.given_up = True
        answer = TimeoutError()
    if isinstance(answer, TimeoutError):
        raise deadline.exceeded(f"download {url}", None)
    if isinstance(answer, InvalidImage):
        raise InvalidImage(f"{url}: {answer.message}", hint=answer.hint)
    if isinstance(answer, BaseException):  # a fault of ours: it must reach the caller, not end in a thread
        raise answer
    return answer


class _Download:
    """One download; ``done`` gets its bytes, or what went wrong."""

    def __init__(self, url: str, end_s: float) -> None:
        self.done: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self.given_up = False
        self._url = url
        self._end_s = end_s

    def run(self) -> None:
        try:
            self.done.put(self._read())
        except BaseException as error:
            self.done.put(_translated(error))

    def _read(self) -> bytes:
        # identity: a compressed answer would be counted before it swells
        request = urllib.request.Request(
            self._url, headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "alexnet-client"}
        )
        with _opener().open(request, timeout=self._remaining_s()) as response:
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > LARGEST_DOWNLOAD_BYTES:
                raise _too_large(f"{announced} bytes")
            content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            body = bytearray()
            while chunk := response.read1(CHUNK_BYTES):
                if not body:
                    _refuse_other_content(content_type, chunk)
                body += chunk
                if len(body) > LARGEST_DOWNLOAD_BYTES:
                    raise _too_large(f"more than {LARGEST_DOWNLOAD_BYTES} bytes")
                self._remaining_s()
            if announced.isdecimal() and len(body) < int(announced):
                raise InvalidImage(f"the download broke off after {len(body)} of {announced} bytes")
        return bytes(body)

    def _remaining_s(self) -> float:
        remaining_s = self._end_s - time.monotonic()
        if self.given_up or remaining_s <= 0:
            raise TimeoutError
        return remaining_s


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, to the web alone, and never from https to http."""

    max_redirections = MOST_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_url(newurl):
            raise InvalidImage(f"it leads to {newurl}, which is neither http nor https")
        if req.full_url.lower().startswith("https://") and newurl.lower().startswith("http://"):
            raise InvalidImage(f"it leads from https to {newurl}, which anybody on the way can replace")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens the web alone: urllib's own opener would read files and speak FTP as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _checked(url: str) -> str:
    """``url`` as it goes over the wire: other characters than ASCII's escaped, without its fragment.

    Raises:
        InvalidImage: It has no host, no proper port, or carries a password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidImage(f"{url}: a malformed address ({error})") from error
    if not host:
        raise InvalidImage(f"{url}: an address without a host")
    if parts.username is not None:
        raise InvalidImage(f"the address of an image at {host} has a user's name in it; credentials are not sent")
    try:
        netloc = parts.netloc.encode("idna").decode("ascii") if not parts.netloc.isascii() else parts.netloc
    except UnicodeError as error:
        raise InvalidImage(f"{url}: a malformed host ({error})") from error
    path, query = (urllib.parse.quote(part, safe="%/:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, netloc, path or "/", query, ""))


def _refuse_other_content(content_type: str, start: bytes) -> None:
    if content_type.startswith("image/") or content_type in UNTYPED or start.startswith(SIGNATURES):
        return
    raise InvalidImage(f"the answer is {content_type}, not an image", hint="Give the address of the image file itself")


def _too_large(found: str) -> InvalidImage:
    return InvalidImage(f"the answer has {found}; at most {LARGEST_DOWNLOAD_BYTES} are downloaded")


def _translated(error: BaseException) -> BaseException:
    """What urllib and what is below it raise, as an error of ours or as ``TimeoutError``."""
    if isinstance(error, urllib.error.HTTPError):
        if "\n" in str(error.reason):  # urllib's words for a loop, several lines long
            return InvalidImage(f"cannot be downloaded (more than {MOST_REDIRECTS} redirects)")
        return InvalidImage(f"cannot be downloaded (HTTP {error.code} {error.reason})")
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError | InvalidImage):
        return error
    if isinstance(error, OSError | http.client.HTTPException | ValueError):
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        return InvalidImage(f"cannot be downloaded ({reason})")
    return error
