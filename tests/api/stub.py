"""Reads a stub file: what inspection cannot tell of compiled classes."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.api.shape import ANY_DEFAULT, Member, Parameter, show

__all__ = ["read_stub"]

_FIRST = {"self", "cls"}


def read_stub(path: Path) -> dict[str, Member]:
    """Members of all classes and functions of a stub, by dotted name."""
    found: dict[str, Member] = {}
    _read_body(ast.parse(path.read_text(encoding="utf-8")).body, "", found, in_enum=False)
    return found


def _read_body(body: list[ast.stmt], prefix: str, found: dict[str, Member], *, in_enum: bool) -> None:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            bases = [ast.unparse(base) for base in statement.bases]
            name = prefix + statement.name
            enum = any("Enum" in base for base in bases)
            found[name] = Member("enum" if enum else "class")
            _read_body(statement.body, f"{name}.", found, in_enum=enum)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if not (in_enum and statement.name in ("__new__", "__init__")):
                _read_function(statement, prefix, found)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and prefix:
            found[prefix + statement.target.id] = Member("attribute", settable=True)
        elif in_enum and isinstance(statement, ast.Assign):
            for target in statement.targets:
                found[prefix + ast.unparse(target)] = Member("value")


def _read_function(
    statement: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str, found: dict[str, Member]
) -> None:
    decorators = {ast.unparse(each) for each in statement.decorator_list}
    name = prefix + statement.name
    if "property" in decorators:
        found[name] = Member("attribute")
        return
    if f"{statement.name}.setter" in decorators:
        found[name] = Member("attribute", settable=True)
        return
    parameters = _parameters(statement.args)
    if prefix and "staticmethod" not in decorators and parameters:
        parameters = parameters[1:]
    if statement.name in ("__new__", "__init__"):
        name = prefix + "()"
    found[name] = Member("function", tuple(parameters))


def _parameters(args: ast.arguments) -> list[Parameter]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + [_default(each) for each in args.defaults]
    found = [
        Parameter(
            each.arg,
            "POSITIONAL_ONLY" if each in args.posonlyargs else "POSITIONAL_OR_KEYWORD",
            default,
        )
        for each, default in zip(positional, defaults, strict=True)
    ]
    if args.vararg is not None:
        found.append(Parameter(args.vararg.arg, "VAR_POSITIONAL", None))
    for each, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append(Parameter(each.arg, "KEYWORD_ONLY", None if value is None else _default(value)))
    if args.kwarg is not None:
        found.append(Parameter(args.kwarg.arg, "VAR_KEYWORD", None))
    return found


def _default(value: ast.expr) -> str:
    try:
        return show(ast.literal_eval(value))
    except ValueError:
        return ast.unparse(value) or ANY_DEFAULT
