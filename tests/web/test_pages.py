"""The page that visitors see in the place of an error (`pants.web._pages.error_page`)."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from pants.web._pages import error_page, title_of


class Reader(HTMLParser):
    """Reads a document: its elements, what they name as a source, and its text. It raises where tags do not match."""

    VOID = frozenset({"meta", "br", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.declaration = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def text(self, tag: str) -> str:
        """What the first element of a kind contains."""
        return self.texts[tag][0]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.elements}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 418, 429, 500, 501, 502, 503, 504, 301, 200])
def test_an_error_page_is_a_small_document(status: int) -> None:
    page = error_page(status)
    reader = Reader(page)
    assert reader.declaration == "DOCTYPE html"
    assert reader.text("title") == reader.text("h1") == title_of(status)
    assert reader.text("title").startswith(f"{status} ")
    assert len(page.encode()) < 1536


def test_it_has_a_sentence_for_each_common_status() -> None:
    sentences = [Reader(error_page(status)).text("p") for status in (400, 401, 403, 404, 405, 410, 413, 429, 500, 503)]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") for sentence in sentences)


@pytest.mark.parametrize(
    "status, title",
    [
        # RFC 9110 §15.5; older releases of http.HTTPStatus have other phrases for these
        (404, "404 Not Found"),
        (413, "413 Content Too Large"),
        (414, "414 URI Too Long"),
        (416, "416 Range Not Satisfiable"),
        (422, "422 Unprocessable Content"),
        # §15: a client treats an unknown code as the x00 of its class
        (499, "499 Client Error"),
        (599, "599 Server Error"),
        (399, "399 Redirection"),
        (999, "999"),
    ],
)
def test_phrases(status: int, title: str) -> None:
    assert Reader(error_page(status)).text("title") == title


def test_it_shows_the_message_as_it_is() -> None:
    page = error_page(403, "<script>alert(1)</script> & \"quotes\" 'too'\nsecond line")
    assert "<script" not in page
    assert Reader(page).text("p") == "<script>alert(1)</script> & \"quotes\" 'too'\nsecond line"


def test_an_empty_message_is_none() -> None:
    assert "p" not in Reader(error_page(404, "")).names


def test_the_messages_of_two_pages_do_not_mix() -> None:
    assert "first" in error_page(404, "first")
    assert "first" not in error_page(404)
    assert error_page(404) == error_page(404)


def test_what_is_no_text_can_be_shown_and_sent() -> None:
    """As what a path contains that was not in UTF-8."""
    assert Reader(error_page(404, "a\udcff\ud800b")).text("p") == "a\\udcff\\ud800b"
    error_page(404, "a\udcff").encode()


def test_it_loads_nothing_and_runs_nothing() -> None:
    reader = Reader(error_page(404))
    assert reader.names == {"html", "head", "meta", "title", "style", "body", "main", "h1", "p"}
    assert "url(" not in reader.text("style")
    assert "@import" not in reader.text("style")
    assert not [
        attribute for _, attributes in reader.elements for attribute in attributes if attribute in ("src", "href")
    ]


def test_it_suits_phones_and_dark_rooms() -> None:
    page = error_page(404)
    assert '<meta name="viewport" content="width=device-width,initial-scale=1">' in page
    assert "color-scheme:light dark" in page
    assert "prefers-color-scheme:dark" in page
