"""The dependency rule of the package, checked on every import, function-local ones included.

``api`` stands beside ``cli``: both are thin shells over the stages, one for programs and one for people. The package itself
gives out the names of ``api``, when they are asked for.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "circuit"
BOTTOM = {"model", "methods", "artifacts", "plots"}
# layer -> (layers of circuit, third-party packages) that it may import
MAY_IMPORT = {
    "cli": ({"api", "stages", "introspect"}, {"typer", "rich"}),
    "api": ({"stages", "introspect", *BOTTOM}, {"numpy"}),
    "stages": (BOTTOM, {"numpy"}),
    # A question about a model is asked of the prompts, formats and archives that the stages know.
    "introspect": (BOTTOM | {"stages"}, {"numpy"}),
    "model": (set(), {"mlx", "mlx_lm", "numpy", "huggingface_hub", "scipy_openblas32"}),
    "methods": (set(), {"numpy", "scipy", "sklearn", "umap"}),
    "artifacts": (set(), {"numpy", "safetensors", "pydantic", "yaml", "gguf"}),
    "plots": (set(), {"matplotlib", "numpy"}),
    "errors": (set(), set()),
    "__init__": ({"api"}, set()),
    "__main__": ({"cli"}, set()),
}


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_layer_imports_only_what_is_below_it(path: Path):
    inside, outside = MAY_IMPORT[layer(path)]
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "circuit":
            allowed = inside | {layer(path), "errors", "__version__"}
            assert rest[0] in allowed, f"{path.name} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert top in outside, f"{path.name} imports {name}"


def test_datasets_folder_holds_data_only():
    # A Python file there would make `import datasets` succeed and mislead transformers.
    assert not list((PACKAGE.parent / "datasets").rglob("*.py"))


@pytest.mark.parametrize("package", ["methods", "artifacts", "plots"])
def test_bottom_packages_work_without_mlx(package: str):
    code = (
        "import importlib, pkgutil, sys; sys.modules['mlx'] = None\n"
        f"import circuit.{package} as p\n"
        "for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
