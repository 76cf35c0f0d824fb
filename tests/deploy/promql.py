"""What a PromQL query asks for: names of series and the labels it selects by; enough of the language for ours."""

import re

WORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "offset", "bool", "group_left", "group_right"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_GROUPING = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+[0-9a-z]+")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def names(query):
    """The names of the series that a query reads."""
    plain = _RANGE.sub(" ", _GROUPING.sub(" ", _STRING.sub('""', query)))
    found = {name for name, _ in _SELECTOR.findall(plain)}
    plain = _SELECTOR.sub(" ", plain)
    for match in _NAME.finditer(plain):
        if not plain[match.end() :].lstrip().startswith("(") and match.group() not in WORDS:
            found.add(match.group())
    return {name for name in found if not re.fullmatch(r"e[0-9]*|inf|nan", name.lower())}


def labels(query):
    """Pairs of a series and a label that it is selected by."""
    plain = _STRING.sub('""', query)
    return {
        (name, label.strip())
        for name, inside in _SELECTOR.findall(plain)
        for label in re.findall(r"([a-zA-Z_]+)\s*(?:=~|!~|!=|=)", inside)
    }


def grouped(query):
    """The labels that a query groups or matches by."""
    return {
        label.strip()
        for _, inside in _GROUPING.findall(_STRING.sub('""', query))
        for label in inside.split(",")
        if label.strip()
    }
