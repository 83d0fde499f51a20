"""Measures the source: sizes, comments, names, and circles among modules.

    python3 scripts/structure.py           print the table of every crate
    python3 scripts/structure.py --check   fail on a circle among modules, on a kind asked for by
                                           name in pipeline/, or on a fault or crash point outside
                                           cache/src/disk/

A file is a module. It imports another where a path (`use` or inline) leads there; a path through a
re-export leads to the file that defines the name. `mod` declarations are no imports. Test modules
are left out.
"""
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = {
    "cache": "voxflow_cache",
    "stages": "voxflow_stages",
    "stages/net": "voxflow_net",
    "pipeline": "voxflow",
}
FILLERS = set("what which that it one none there who so of where".split())
VAGUE = re.compile(r"^(What|Whether|Who|How|Where|Why|Which)\b")
# A comment, a raw string, a string or a character.
LITERAL = re.compile(r"""//[^\n]*|\br(#*)".*?"\1|"(?:[^"\\]|\\.)*"|'(?:\\u\{\w+\}|\\.|[^'\\])'""", re.S)
# A place where a test makes an operation fail, or the process die.
HOOK = re.compile(r"\bfault::pass\(|\bcrash::at\(")
# A kind's name compared in code: what a kind is, its row in KINDS tells.
KIND_ASKED = re.compile(r'kind(?:\.name)?\s*(?:==|!=)\s*\*?"\w+"|"\w+"\s*(?:==|!=)\s*\*?\w*\.?kind\b')


def source(folder):
    """The files of a crate by module path (a tuple), without test modules."""
    base = ROOT / folder / "src"
    files = {}
    for path in sorted(base.rglob("*.rs")):
        name = path.relative_to(base).with_suffix("").parts
        if name[-1] in ("mod", "lib"):
            name = name[:-1]
        if name and (name[-1] == "tests" or name[-1].endswith("_tests")):
            continue
        files[name] = without_tests(path.read_text())
    return files


def without_tests(text):
    """The text up to its test module; the house keeps that last."""
    found = re.search(r"^#\[cfg\(test\)\]\n(?:pub(?:\(\w+\))? )?mod \w+ \{", text, re.M)
    return text[: found.start()] if found else text


def code(text):
    """The text without comments and the contents of strings; every line stays in its place."""
    return LITERAL.sub(lambda found: "" if found[0].startswith("//") else
                       found[0][0] + "\n" * found[0].count("\n") + found[0][-1], text)


def functions(text):
    """The length in lines of each function, by matching braces."""
    lines = code(text).split("\n")
    for start, line in enumerate(lines):
        if not re.match(r"\s*(pub(\([a-z ]+\))? )?(const |unsafe |async )*fn \w+", line):
            continue
        depth, opened = 0, False
        for end in range(start, len(lines)):
            body = lines[end]
            if not opened and ";" in body and "{" not in body and "[" not in body:
                break
            depth += body.count("{") - body.count("}")
            opened |= "{" in body
            if opened and depth <= 0:
                yield end - start + 1
                break


def docs(text):
    """The doc comments, each as one text."""
    for block in re.findall(r"(?:^[ \t]*//[/!][^\n]*\n)+", text, re.M):
        yield " ".join(re.sub(r"^\s*//[/!] ?", "", line) for line in block.splitlines()).strip()


def trees(paths):
    """The flat paths of a `use` tree: `a::{b, c::d}` gives `a::b` and `a::c::d`."""
    head, brace, rest = paths.partition("{")
    if not brace:
        yield re.sub(r"\s+as\s+\w+$", "", paths.strip())
        return
    depth, part = 0, ""
    for letter in rest:
        if letter == "}" and depth == 0:
            break
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield from (head.strip() + path for path in trees(part) if path)
            part = ""
        else:
            part += letter
    yield from (head.strip() + path for path in trees(part) if path)


def paths(module, text):
    """The absolute paths inside the crate that a module names, those through its own imports too."""
    text = code(text)
    uses = re.findall(r"^\s*(?:pub(?:\([a-z ]+\))? )?use ([^;]+);", text, re.M)
    flat = [path for tree in uses for path in trees(re.sub(r"\s+", " ", tree))]
    inline = re.sub(r"^\s*(?:pub(?:\([a-z ]+\))? )?use [^;]+;", "", text, flags=re.M)
    named = re.findall(r"(?<![\w:])\w+(?:::\w+)+", inline)
    imported = {}
    for path in flat + [path for path in named if path.split("::")[0] in ("crate", "self", "super")]:
        found = absolute(module, path.split("::"))
        if found is not None:
            imported[path.split("::")[-1]] = found
            yield found
    for path in named:
        first, *rest = path.split("::")
        if first in imported:
            yield imported[first] + tuple(rest)


def absolute(module, parts):
    """The path from the crate's root; `None` outside the crate."""
    if parts[0] == "crate":
        return tuple(parts[1:])
    if parts[0] == "self":
        return module + tuple(parts[1:])
    if parts[0] != "super":
        return None
    above = module
    while parts and parts[0] == "super":
        above, parts = above[:-1], parts[1:]
    return above + tuple(parts)


def reexports(files):
    """(module, name) to the path that a `pub use` of that module gives the name."""
    found = {}
    for module, text in files.items():
        for tree in re.findall(r"^\s*pub(?:\([a-z ]+\))? use ([^;]+);", code(text), re.M):
            for path in trees(re.sub(r"\s+", " ", tree)):
                parts = path.split("::")
                if parts[0] == "crate":
                    found[module, parts[-1]] = tuple(parts[1:])
                elif parts[0] not in ("std", "super") and (module + (parts[0],)) in files:
                    found[module, parts[-1]] = module + tuple(parts)
                elif parts[0] == "self":
                    found[module, parts[-1]] = module + tuple(parts[1:])
    return found


def home(path, files, exported, depth=0):
    """The module that a path leads to."""
    for length in range(len(path), -1, -1):
        if path[:length] in files:
            module, rest = path[:length], path[length:]
            if rest and (module, rest[0]) in exported and depth < 8:
                return home(exported[module, rest[0]] + rest[1:], files, exported, depth + 1)
            return module
    return ()


def circles(files):
    """The groups of modules that import each other, largest first."""
    exported = reexports(files)
    graph = {}
    for module, text in files.items():
        own = {home(path, files, exported) for path in paths(module, text)}
        declared = {module + (name,) for name in re.findall(r"^\s*(?:pub(?:\([a-z ]+\))? )?use "
                    r"(?:self::)?(\w+)::", code(text), re.M)} & set(files)
        graph[module] = (own | declared_used(module, text, files, declared)) - {module, ()}
    return strong(graph)


def declared_used(module, text, files, declared):
    """Children that a module's code names by a path of their own: `child::item`."""
    inline = re.sub(r"^\s*pub(?:\([a-z ]+\))? use [^;]+;", "", code(text), flags=re.M)
    names = set(re.findall(r"(?<![\w:])(\w+)::", inline))
    children = {module + (name,) for name in names} & set(files)
    hidden = {child for child in declared if child[-1] not in names}
    return children - hidden


def strong(graph):
    """Tarjan: the strongly connected groups of more than one module."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in graph:
        if node not in order:
            visit(node)
    return sorted(found, key=len, reverse=True)


def hooks(files):
    """The number of fault and crash points by module, outside the disk layer."""
    found = {name: len(HOOK.findall(code(text))) for name, text in files.items()
             if "disk" not in name[:-1] and name[-1:] != ("disk",)}
    return {name: count for name, count in found.items() if count}


def measured(files):
    """The figures of a set of files, in the order of HEADS."""
    texts = list(files.values())
    sizes = [text.count("\n") for text in texts]
    lengths = [length for text in texts for length in functions(text)]
    comments = [doc for text in texts for doc in docs(text)]
    words = [word.strip(".,;:()`'").lower() for doc in comments
             if 6 <= len(doc.split()) <= 60 for word in doc.split()]
    types = [name for text in texts
             for name in re.findall(r"\b(?:struct|enum|trait|type) ([A-Z]\w*)", code(text))]
    closures = sum(len(re.findall(r"\blet (?:mut )?\w+ = (?:move )?\|", code(text)))
                   for text in texts)
    return {
        "files": len(texts),
        "lines/file": f"{statistics.median(sizes):.0f} · {quantile(sizes)} · {max(sizes)}",
        "functions": len(lengths),
        "lines/fn": f"{statistics.median(lengths):.0f} · {quantile(lengths)} · {max(lengths)}",
        "over 40": sum(length > 40 for length in lengths),
        "fillers %": f"{100 * sum(word in FILLERS for word in words) / max(len(words), 1):.1f}",
        "vague docs %": f"{100 * sum(bool(VAGUE.match(doc)) for doc in comments) / max(len(comments), 1):.1f}",
        "one-word types %": f"{100 * sum(is_one_word(name) for name in types) / max(len(types), 1):.0f}",
        "names twice": sum(count > 1 for count in Counter(types).values()),
        "closures/100 fn": f"{100 * closures / max(len(lengths), 1):.1f}",
        "wide lines": sum(len(line) > 100 for text in texts for line in text.split("\n")),
        "hooks": sum(hooks(files).values()),
    }


def quantile(values):
    return sorted(values)[int(0.9 * (len(values) - 1))]


def is_one_word(name):
    return len(re.findall("[A-Z]+[a-z0-9]*", name)) == 1


def shown(group):
    return ", ".join("::".join(module) or "(root)" for module in group)


def main():
    crates = {folder: source(folder) for folder in CRATES}
    found = {folder: circles(files) for folder, files in crates.items()}
    if "--check" in sys.argv:
        bad = [f"{folder}: a circle among modules: {shown(group)}" for folder, groups in found.items()
               for group in groups]
        bad += [f"pipeline: {'::'.join(module)} asks for a kind by name: {asked}"
                for module, text in crates["pipeline"].items() for asked in KIND_ASKED.findall(text)]
        bad += [f"{folder}: {'::'.join(module)} has {count} fault or crash points: use cache/src/disk"
                for folder, files in crates.items() for module, count in hooks(files).items()]
        print("\n".join(bad) or "no circle among modules, no kind asked for by name, no hook outside "
              "the disk layer")
        sys.exit(bool(bad))
    crates["all"] = {(folder,) + name: text for folder, files in crates.items()
                     for name, text in files.items()}
    rows = {folder: measured(files) for folder, files in crates.items()}
    for figure in rows["all"]:
        print(f"{figure:18}" + "".join(f"{str(row[figure]):>18}" for row in rows.values()))
    print(f"{'':18}" + "".join(f"{folder:>18}" for folder in rows))
    for folder, groups in found.items():
        for group in groups:
            print(f"circle in {folder}, {len(group)} modules: {shown(group)}")


if __name__ == "__main__":
    main()
