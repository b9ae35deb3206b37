"""Where the sources of rules can be read by everyone.

A source is text: parts with "; " or ", " between them, each a page's address, a project and a file
of it ("LiteRT tflite/kernels/register_ref.cc"), another file of the same folder ("mul.cc"), a
released package ("ethos-u-vela 5.2.0"), or words about the part before. Files are linked in the
state that was read.
"""

from __future__ import annotations

import re

GITHUB = {  # project -> repository and the commit that was read
    "LiteRT": ("google-ai-edge/LiteRT", "f67457790c9c2ab67347d6fe53270e8d3df20868"),
    "tflite-micro": ("tensorflow/tflite-micro", "90b983c2b3f1480642e040bbd2ddb37b998f3424"),
    "CMSIS-NN": ("ARM-software/CMSIS-NN", "99f736a63036613032f9b70de36b493bcd7802d4"),
    "libedgetpu": ("google-coral/libedgetpu", "05b32cb4c548c6d59f3f1cf84545231be227ab16"),
}
PACKAGES = ("ethos-u-vela",)  # of PyPI

_FILE = re.compile(rf"({'|'.join(GITHUB)}) ([\w./-]+)( \(.*\))?")
_PACKAGE = re.compile(rf"({'|'.join(PACKAGES)}) (\d[\w.]*)")
_SIBLING = re.compile(r"[\w-]+\.\w+")


def cited(source: str) -> tuple[tuple[str, str], ...]:
    """Each part of a source with its address, "" where it has none of its own; the texts put
    together are the source."""
    found = []
    folder = ""
    for text in re.split(r"((?:; |, ))", source):
        url = ""
        if text.startswith("https://"):
            url = text
        elif file := _FILE.fullmatch(text):
            repository, commit = GITHUB[file[1]]
            kind = "blob" if "." in file[2].rpartition("/")[2] else "tree"
            url = f"https://github.com/{repository}/{kind}/{commit}/{file[2]}"
            folder = url.rpartition("/")[0]
        elif package := _PACKAGE.fullmatch(text):
            url = f"https://pypi.org/project/{package[1]}/{package[2]}/"
        elif folder and _SIBLING.fullmatch(text):
            url = f"{folder}/{text}"
        found.append((text, url))
    return tuple(found)


def urls(source: str) -> tuple[str, ...]:
    """The public addresses of a source."""
    return tuple(url for _, url in cited(source) if url)
