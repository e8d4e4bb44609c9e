"""Ways to change a decision that mutmut does not know: guards and records left out, conditions turned."""

from collections.abc import Iterable

import libcst as cst
from libcst import matchers
from mutmut.mutation.mutators import OPERATORS_TYPE

SWAPPED_CALLS = {"any": "all", "all": "any", "max": "min", "min": "max"}


def leave_out(node: cst.Expr | cst.Raise) -> Iterable[cst.Pass]:
    """Leave out a statement that is there for what it does: a guard asked, an event recorded, a refusal."""
    if not matchers.matches(node, matchers.Expr(matchers.SimpleString() | matchers.Ellipsis())):
        yield cst.Pass()


def return_nothing(node: cst.Return) -> Iterable[cst.Return]:
    """Return None instead of a result."""
    if node.value is not None and not matchers.matches(node.value, matchers.Name("None")):
        yield node.with_changes(value=cst.Name("None"))


def turn(node: cst.If | cst.While | cst.CompIf) -> Iterable[cst.CSTNode]:
    """Turn a condition into its opposite."""
    yield node.with_changes(test=_not(node.test))


def turn_guard(node: cst.MatchCase) -> Iterable[cst.MatchCase]:
    """Turn the guard of a case into its opposite."""
    if node.guard is not None:
        yield node.with_changes(guard=_not(node.guard))


def halve(node: cst.BooleanOperation) -> Iterable[cst.BaseExpression]:
    """Leave out either side of an `and` or `or`."""
    for side in (node.left, node.right):
        yield _bracketed(side)


def swap_call(node: cst.Call) -> Iterable[cst.Call]:
    """Ask for the smallest instead of the largest, for all instead of any."""
    if isinstance(node.func, cst.Name) and node.func.value in SWAPPED_CALLS:
        yield node.with_deep_changes(node.func, value=SWAPPED_CALLS[node.func.value])


def _not(condition: cst.BaseExpression) -> cst.UnaryOperation:
    return cst.UnaryOperation(cst.Not(), _bracketed(condition))


def _bracketed(expression: cst.BaseExpression) -> cst.BaseExpression:
    return expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


OPERATORS: OPERATORS_TYPE = [
    (cst.Expr, leave_out),
    (cst.Raise, leave_out),
    (cst.Return, return_nothing),
    (cst.If, turn),
    (cst.While, turn),
    (cst.CompIf, turn),
    (cst.MatchCase, turn_guard),
    (cst.BooleanOperation, halve),
    (cst.Call, swap_call),
]
