"""Every public tensor function of the core says the shapes it takes and gives, in one form."""

import importlib
import inspect
import pkgutil
import re

import pytest

import workbench.core

PACKAGES = ("workbench.core", "workbench.models.model", "workbench.models.sampling")
SHAPE = re.compile(r"\[[^\]]*\]")


def modules():
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for found in pkgutil.walk_packages(
            getattr(package, "__path__", ()), f"{package.__name__}."
        ):
            yield importlib.import_module(found.name)


def functions():
    """Public functions, and public methods of public classes, that take or give a tensor."""
    for module in modules():
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            members = vars(thing).items() if inspect.isclass(thing) else [("", thing)]
            for member, function in members:
                function = getattr(function, "__func__", function)
                if not inspect.isfunction(function) or member.startswith("_"):
                    continue
                kinds = {key: str(kind) for key, kind in function.__annotations__.items()}
                if any(re.search(r"\bTensor\b", kind) for kind in kinds.values()):
                    label = f"{module.__name__}.{name}.{member}".rstrip(".")
                    yield pytest.param(function, kinds, id=label.removeprefix("workbench."))


def sections(function):
    """The docstring's Args and Returns as text, by name."""
    text = inspect.getdoc(function) or ""
    parts = re.split(r"^(Args|Returns|Raises):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize(("function", "kinds"), functions())
def test_a_tensor_function_names_its_arguments_and_shapes(function, kinds):
    found = sections(function)
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    described = re.findall(r"^ +(\w+): ", found.get("Args", ""), flags=re.MULTILINE)
    assert [name for name in described if name in names] == names
    tensors = [name for name in names if re.search(r"\bTensor\b", kinds.get(name, ""))]
    for name in tensors:
        about = re.search(rf"^ +{name}: (.*(?:\n     +.*)*)", found["Args"], flags=re.MULTILINE)
        assert SHAPE.search(about[1]) or "shape" in about[1], name
    if re.search(r"\bTensor\b|Rollout|Prediction|Stage", kinds.get("return", "")):
        assert SHAPE.search(found["Returns"]) or "shape" in found["Returns"]


def test_the_core_has_such_functions():
    assert len(list(functions())) > 30
    assert workbench.core.__doc__
