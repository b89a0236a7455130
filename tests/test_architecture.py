"""The dependency rule of the package, checked on every import, function-local ones included.

``api`` stands beside ``cli``: both are thin shells over the stages, one for programs and one for people. The package itself
gives out the names of ``api``, when they are asked for.
"""

import subprocess
import sys
from pathlib import Path

import architecture
import pytest
from architecture import PACKAGE

BOTTOM = {"model", "methods", "artifacts", "plots", "values"}
# layer -> (layers of circuit, third-party packages) that it may import
MAY_IMPORT = {
    "cli": ({"api", "stages", "introspect", "present", "values"}, {"typer", "rich"}),
    "api": ({"stages", "introspect", *BOTTOM}, {"numpy"}),
    "stages": (BOTTOM | {"present"}, {"numpy"}),
    # A question about a model is asked of the prompts, formats and archives that the stages know.
    "introspect": (BOTTOM | {"stages", "present"}, {"numpy"}),
    "model": (
        {"values"},
        {
            "mlx",
            "mlx_lm",
            "numpy",
            "huggingface_hub",
            "transformers",
            "scipy_openblas32",
            "gguf",
            "tokenizers",
        },
    ),
    "methods": ({"values"}, {"numpy", "joblib", "scipy", "sklearn", "umap"}),
    "artifacts": ({"values"}, {"numpy", "safetensors", "pydantic", "yaml", "gguf"}),
    "plots": ({"values"}, {"matplotlib", "numpy"}),
    "present": ({"values"}, set()),
    "values": (set(), set()),
    "errors": (set(), set()),
    "__init__": ({"api", "values"}, set()),
    "__main__": ({"cli"}, set()),
}


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", architecture.sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layer_imports_only_what_is_below_it(path: Path):
    inside, outside = MAY_IMPORT[layer(path)]
    for source, name in architecture.imported(path):
        top, *rest = [*source.split("."), str(name)]
        if top == "circuit":
            allowed = inside | {layer(path), "errors"}
            assert rest[0] in allowed, f"{path.name} imports {source}"
        elif top not in sys.stdlib_module_names:
            assert top in outside, f"{path.name} imports {source}"


def test_no_file_imports_itself_through_others():
    assert architecture.circle(architecture.files()) == []


def test_no_folder_imports_itself_through_others():
    assert architecture.circle(architecture.folders()) == []


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
