#!/usr/bin/env python3
"""Checks that every local link and anchor in the repository's Markdown leads somewhere. Links out of the repository are not followed."""

import pathlib
import re
import subprocess
import sys
import urllib.parse

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]^]+\]:\s+<?(\S+?)>?(?:\s|$)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
FENCE = re.compile(r"^\s{0,3}(```|~~~)")


def prose(path):
    """The lines outside code blocks, with their numbers; code spans emptied."""
    fenced = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence and fenced in (None, fence.group(1)):
            fenced = None if fenced else fence.group(1)
        elif not fenced:
            yield number, line


def anchors(path):
    """The anchors that a heading gets where Markdown is shown: lower case, no punctuation, hyphens, numbered when repeated."""
    seen = {}
    for _, line in prose(path):
        heading = HEADING.match(line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1))
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            times = seen.get(name, 0)
            seen[name] = times + 1
            yield f"{name}-{times}" if times else name


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"], cwd=root, capture_output=True, check=True
    )
    files = [root / name for name in listed.stdout.decode().split("\0") if name]
    broken, checked = [], 0
    for path in filter(pathlib.Path.exists, files):
        for number, line in prose(path):
            line = re.sub(r"`[^`]*`", "", line)
            for target in LINK.findall(line) + REFERENCE.findall(line):
                if re.match(r"[a-z][a-z0-9+.-]*:", target):
                    continue
                checked += 1
                place, _, anchor = target.partition("#")
                place, anchor = urllib.parse.unquote(place), urllib.parse.unquote(anchor)
                if place.startswith("/"):
                    goal = root / place.lstrip("/")
                else:
                    goal = (path.parent / place) if place else path
                where = f"{path.relative_to(root)}:{number}: {target}"
                if not goal.exists():
                    broken.append(f"{where}: no such file")
                elif anchor and goal.suffix == ".md" and anchor not in anchors(goal):
                    broken.append(f"{where}: no such heading")
    print("\n".join(broken), file=sys.stderr, end="\n" if broken else "")
    print(f"links: {checked} local links in {len(files)} Markdown files, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
