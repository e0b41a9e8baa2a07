"""Images from a web server on this machine: what it may answer, and what becomes of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alexnet_client import AsyncClassifier, Classifier, DeadlineExceeded, InvalidImage, _download
from alexnet_client import _calls as calls
from alexnet_client._download import image_bytes_from_url
from alexnet_client._flows import TEST_IMAGE
from alexnet_client._retry import Deadline

Answer = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """A web server whose answers are functions by path; `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.closing = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                web.answers[self.path](self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    web = Web()
    yield web
    web.closing.set()
    web.server.shutdown()
    web.server.server_close()


def content(body: bytes, content_type: str = "image/png", length: int | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if content_type:
            handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(target: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


def downloaded(url: str, seconds: float = 10.0) -> bytes:
    return image_bytes_from_url(url, Deadline(seconds, time.monotonic, url="server:8001"))


def message_of(url: str) -> str:
    with pytest.raises(InvalidImage) as caught:
        downloaded(url)
    assert caught.value.message.startswith(f"{url}: ")
    return caught.value.message.removeprefix(f"{url}: ")


@pytest.mark.parametrize("content_type", ["image/png", "IMAGE/PNG; q=1", "", "application/octet-stream", "text/plain"])
def test_image_is_downloaded_whatever_a_careless_server_calls_it(web: Web, content_type: str) -> None:
    web.answers["/a.png"] = content(TEST_IMAGE, content_type)
    assert downloaded(f"{web.url}/a.png#top") == TEST_IMAGE
    assert web.asked == ["/a.png"]


def test_address_is_escaped_and_its_query_kept(web: Web) -> None:
    web.answers["/caf%C3%A9%20%2F.png?a=b%26&c=d"] = content(TEST_IMAGE)
    assert downloaded(f"{web.url}/café %2F.png?a=b%26&c=d") == TEST_IMAGE


def test_page_is_refused_by_its_type(web: Web) -> None:
    web.answers["/"] = content(b"<!doctype html>", "text/html; charset=utf-8")
    assert message_of(web.url) == "the answer is text/html, not an image"


def test_error_is_named_by_its_status(web: Web) -> None:
    web.answers["/"] = lambda handler: handler.send_error(404)
    assert message_of(web.url) == "cannot be downloaded (HTTP 404 Not Found)"


def test_redirect_is_followed(web: Web) -> None:
    web.answers |= {"/a": redirect("/b"), "/b": content(TEST_IMAGE)}
    assert downloaded(f"{web.url}/a") == TEST_IMAGE


def test_endless_redirect_is_given_up_after_five(web: Web) -> None:
    web.answers |= {f"/{n}": redirect(f"/{n + 1}") for n in range(20)}
    assert message_of(f"{web.url}/0") == "cannot be downloaded (more than 5 redirects)"
    assert web.asked == [f"/{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("ftp://127.0.0.1/a.png", "it leads to ftp://127.0.0.1/a.png, which is neither http nor https"),
        ("file:///etc/passwd", "cannot be downloaded (HTTP 302 Found - Redirection to url 'file:///etc/passwd' is not"),
    ],
)
def test_redirect_out_of_the_web_is_refused(web: Web, target: str, problem: str) -> None:
    web.answers["/"] = redirect(target)
    assert message_of(web.url).startswith(problem)


def test_redirect_from_https_to_http_is_refused() -> None:
    request = _download.urllib.request.Request("https://example.org/a.png")
    with pytest.raises(InvalidImage, match=r"leads from https to http://example\.org/b\.png"):
        _download._Redirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/b.png")


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_answer_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    monkeypatch.setattr(_download, "LARGEST_DOWNLOAD_BYTES", 1000)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "image/png")
        handler.end_headers()
        while not web.closing.is_set():
            try:
                handler.wfile.write(b"\x89PNG" * 100)
            except OSError:  # the client has had enough
                return

    web.answers["/"] = content(bytes(1001)) if announced else endless
    found = "1001 bytes" if announced else "more than 1000 bytes"
    assert message_of(web.url) == f"the answer has {found}; at most 1000 are downloaded"


def test_download_that_breaks_off_is_refused(web: Web) -> None:
    web.answers["/"] = content(TEST_IMAGE, length=200)
    assert message_of(web.url) == f"the download broke off after {len(TEST_IMAGE)} of 200 bytes"


def test_server_that_trickles_does_not_outlast_the_deadline(web: Web) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")  # a header that never ends
        while not web.closing.wait(0.02):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    web.answers["/"] = trickle
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"could not download http://127\.0\.0\.1:\d+ .*within 0\.3 s"):
        downloaded(web.url, 0.3)
    assert time.monotonic() - started_s < 2.0


def test_closed_port_is_named() -> None:
    assert message_of("http://127.0.0.1:9/a.png") == "cannot be downloaded (Connection refused)"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://", "an address without a host"),
        ("http:///a.png", "an address without a host"),
        ("http://host:port/a.png", "a malformed address"),
        ("http://[::1/a.png", "a malformed address"),
        ("http://exa mple/a.png", "cannot be downloaded"),
    ],
)
def test_malformed_address_is_invalid(url: str, problem: str) -> None:
    with pytest.raises(InvalidImage, match=problem):
        downloaded(url)


def test_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidImage, match="credentials are not sent") as caught:
        downloaded("https://user:secret@example.org/a.png")
    assert "secret" not in str(caught.value)


def test_address_is_refused_without_the_keyword_that_allows_it(transport) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidImage) as caught:
        Classifier(transport=transport).classify("HTTPS://example.org/cat.jpg")
    assert caught.value.message == "HTTPS://example.org/cat.jpg: this client reads no web addresses"
    assert "allow_urls=True" in caught.value.hint
    assert transport.sent == []


def test_classifiers_send_what_they_downloaded(web: Web, transport, async_transport) -> None:  # type: ignore[no-untyped-def]
    web.answers["/a.png"] = content(TEST_IMAGE)
    image = f"{web.url}/a.png"
    Classifier(transport=transport, allow_urls=True).classify(image)

    async def classify() -> list[str]:
        classifier = AsyncClassifier(transport=async_transport, allow_urls=True)
        return [result.image async for result in classifier.classify_many([image])]

    assert asyncio.run(classify()) == [image]
    for sent in (transport.sent, async_transport.sent):
        assert [call.image_bytes for call in sent if isinstance(call, calls.Infer)] == [TEST_IMAGE]
