"""A page taken apart again: its elements as a tree, and what every page of emr-fl keeps to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "input", "hr", "img"}


@dataclass
class Node:
    """An element of a page: its attributes, and its children in order, texts among them."""

    tag: str
    attributes: dict[str, str]
    parent: Node | None = None
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> list[Node]:
        return [self, *(node for child in self.children if isinstance(child, Node) for node in child.walk())]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def inside(self, test: Callable[[Node], bool]) -> bool:
        """Whether it or one of its ancestors passes."""
        return test(self) or (self.parent is not None and self.parent.inside(test))


class Tree(HTMLParser):
    """Builds the tree; fails where tags do not close in the order they opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute twice in <{tag}>: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs}, self.open[-1])
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse_page(page: str) -> Node:
    """The page as a tree. Fails on tags that are not balanced."""
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert [node.tag for node in tree.open] == [""], "unclosed tags"
    return tree.root
