"""A hook of MkDocs: links from a page to files that are no pages, as plain names.

In the repository such links lead somewhere; the site holds the pages alone.
"""

import posixpath
import re

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown, page, **_):
    """Called by MkDocs with the text of each page."""
    return unlink(markdown, page.file.src_uri)


def unlink(markdown: str, page: str) -> str:
    """Replace links that leave the folder of the pages; page: path of this one inside it."""

    def replace(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        if not path.startswith("../"):
            return link[0]
        name = path.removeprefix("../")
        return f"`{name}`" if text.strip("`") in name else f"{text} (`{name}`)"

    return LINK.sub(replace, markdown)
