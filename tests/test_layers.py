"""The import graph of the package: no arrow goes up a layer, and there is no circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first; the last names are those of the package's top level that nothing inside imports.
LAYERS = [
    ["version"],
    ["core"],
    ["_C", "_sampler", "kernels"],
    ["ops"],
    ["nn"],
    ["data", "hardware"],
    ["evaluation"],
    ["strategies"],
    ["vision", "medical", "text", "speech"],
    ["report", "export", "bench", "testing"],
    ["work", "compose", "cli"],
    ["__init__", "__main__"],
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
APART = {"vision", "medical", "text", "speech"}


def modules():
    """Every module of the package: dotted name to file."""
    found = {}
    roots = {"nas_domains": "nas_domains", "kernels": "nas_domains.kernels"}
    for folder, prefix in ((ROOT / name, prefix) for name, prefix in roots.items()):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            found[".".join((prefix, *parts))] = path
    return found


def imports(name, path, known):
    """Modules of the package that a file imports, in functions too, but not for typing."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{source}.{alias.name}"
                if target in known or source in known:
                    yield target if target in known else source


def layer(name):
    parts = name.split(".")
    return LAYER[parts[1] if len(parts) > 1 else "__init__"]


def upward(graph):
    """Arrows that the layers forbid."""
    for source, targets in graph.items():
        for target in sorted(targets):
            ends = [name.split(".")[1] if "." in name else "" for name in (source, target)]
            apart = ends[0] != ends[1] and set(ends) <= APART
            if layer(target) > layer(source) or apart:
                yield f"{source} -> {target}"


def circle(graph):
    """Some circle of the graph as a list of modules, or None."""
    state = {}

    def visit(name, path):
        if state.get(name) == "done":
            return None
        if name in path:
            return [*path[path.index(name) :], name]
        for target in sorted(graph.get(name, ())):
            found = visit(target, [*path, name])
            if found:
                return found
        state[name] = "done"
        return None

    return next(filter(None, (visit(name, []) for name in sorted(graph))), None)


@pytest.fixture(scope="module")
def graph():
    known = modules()
    compiled = {"nas_domains._C", "nas_domains._sampler"}
    arrows = {
        name: set(imports(name, path, set(known) | compiled)) - {name}
        for name, path in known.items()
    }
    assert len(arrows) > 10
    return arrows


def test_every_module_has_a_layer(graph):
    unknown = [name for name in graph if "." in name and name.split(".")[1] not in LAYER]
    assert not unknown, "give these a layer in tests/test_layers.py and in the design"


def test_no_arrow_goes_up(graph):
    assert list(upward(graph)) == []


def test_there_is_no_circle(graph):
    found = circle(graph)
    assert found is None, " -> ".join(found)


def test_the_checks_can_fail(tmp_path):
    file = tmp_path / "space.py"
    file.write_text("def f():\n    from ..vision import spaces\n    import nas_domains.ops\n")
    known = {"nas_domains.vision.spaces", "nas_domains.ops", "nas_domains.core.space"}
    found = set(imports("nas_domains.core.space", file, known))
    assert found == {"nas_domains.vision.spaces", "nas_domains.ops"}
    assert len(list(upward({"nas_domains.core.space": found}))) == 2
    assert list(upward({"nas_domains.vision.tasks": {"nas_domains.text.tasks"}}))
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
