"""Small mistakes that could have been made in a module, one at a time.

Left alone are what is no behaviour (annotations, decorators, docstrings, the words of errors), the
requests for cache lines, and zip's `strict`, which only tells of mistakes elsewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_UNSEEN_CALLS = {"cast", "prefetch", "super"}
_COMPILING = {"allocating_kernel", "inline", "kernel", "vector_inline", "vector_kernel"}
_UNSEEN_KEYWORDS = {"strict", "stacklevel"}


@dataclass(frozen=True)
class Mutant:
    """One mistake: in the syntax tree, `old` would be `new`."""

    old: ast.AST
    new: ast.AST
    where: str  # the function, or "" for a module's own lines
    line: int
    text: str  # before → after
    late: bool  # whether it is in a function's body, which can be changed once all is imported
    compiled: bool  # whether it is in a loop that is machine code unless plain.py is there


def mutants_of(tree: ast.Module) -> list[Mutant]:
    """All mutants of a module."""
    return list(_within(tree, _Place()))


def install(tree: ast.Module, mutant: Mutant) -> None:
    """Make the mistake in the tree, of which the mutant must be."""
    _Replacing(mutant).visit(tree)
    ast.fix_missing_locations(tree)


class _Replacing(ast.NodeTransformer):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self._mutant.old:
            return ast.copy_location(self._mutant.new, node)
        return self.generic_visit(node)


@dataclass(frozen=True)
class _Place:
    where: str = ""
    late: bool = False
    compiled: bool = False

    def inside(self, node: ast.AST, child: ast.AST) -> _Place:
        """That of a part of a node."""
        where, compiled = self.where, self.compiled
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            where = f"{where}.{child.name}" if where else child.name
            names = {each.id for each in child.decorator_list if isinstance(each, ast.Name)}
            compiled = compiled or bool(names & _COMPILING)
        is_body = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        late = self.late or (is_body and not isinstance(child, ast.arguments))
        return _Place(where, late, compiled)


def _within(node: ast.AST, place: _Place) -> Iterator[Mutant]:
    for new in _variants(node):
        assert isinstance(node, ast.expr | ast.stmt)
        text = f"{_short(node)} → {_short(new)}"
        yield Mutant(node, new, place.where, node.lineno, text, place.late, place.compiled)
    for child in _visible(node):
        yield from _within(child, place.inside(node, child))


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _visible(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that are behaviour."""
    if _is_hidden(node):
        return
    hidden: set[str] = set()
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            hidden = {"decorator_list", "returns"}
        case ast.AnnAssign() | ast.arg():
            hidden = {"annotation"}
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if field not in hidden and isinstance(child, ast.AST):
                yield child


def _is_hidden(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Call(func=ast.Name(name)):
            return name in _UNSEEN_CALLS
        case ast.keyword(arg=str(name)):
            return name in _UNSEEN_KEYWORDS
        case ast.Subscript(value=ast.Name("NDArray" | "dict" | "list" | "tuple" | "set")):
            return True
    return False


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    if isinstance(node, ast.expr):
        yield from _variants_of_values(node)
    elif isinstance(node, ast.stmt):
        yield from _variants_of_statements(node)


def _variants_of_values(node: ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, comparators):
            for i, operator in enumerate(ops):
                swapped = [*ops[:i], _COMPARISONS[type(operator)](), *ops[i + 1 :]]
                yield ast.Compare(left, swapped, comparators)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
            if not _is_union_of_types(node):
                yield ast.BinOp(left, _ARITHMETIC[type(operator)](), right)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.IfExp(test, body, orelse) if _is_plain(test):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)


def _variants_of_statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.AugAssign(target, operator, value) if type(operator) in _ARITHMETIC:
            yield ast.AugAssign(target, _ARITHMETIC[type(operator)](), value)
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.If(test, body, orelse) if _is_plain(test):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(ast.Call() as call) if not _is_unseen(call):
            yield ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_plain(test: ast.expr) -> bool:
    """Whether no other variant turns the condition round."""
    return not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp)


def _is_unseen(call: ast.Call) -> bool:
    name = call.func
    while isinstance(name, ast.Attribute):
        name = name.value
    if isinstance(name, ast.Call):
        return _is_unseen(name)
    return isinstance(name, ast.Name) and name.id in _UNSEEN_CALLS


def _is_union_of_types(node: ast.BinOp) -> bool:
    """Whether it is such as `int | None`."""
    return isinstance(node.op, ast.BitOr) and any(
        _is_none(side) or (isinstance(side, ast.Name) and side.id in {"int", "str", "float"})
        for side in (node.left, node.right)
    )
