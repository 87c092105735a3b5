"""The filter of `--mri-where`: a condition on the facts of an image, parsed and never evaluated.

    EchoTime < 30 and not contrast
    Plane == 'axial' and 20 <= Slices <= 200
    'NORM' in ImageType or kind in ('T1w', 'T2w')

Python's parser reads the text; of its tree only comparisons, `and`, `or`, `not`, `in`, names,
numbers and texts are accepted. A comparison with a value that the header lacks is false.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mrct.errors import UsageError

Condition = Callable[[Mapping[str, Any]], Any]
FACT_NAMES: Mapping[str, type] = {
    "kind": str,
    "EchoTime": float,
    "RepetitionTime": float,
    "InversionTime": float,
    "FlipAngle": float,
    "BValue": float,
    "SliceThickness": float,
    "Spacing": float,
    "PixelSpacing": float,
    "Slices": float,
    "Rows": float,
    "Columns": float,
    "Plane": str,
    "Acquisition": str,
    "Sequence": tuple,
    "Variant": tuple,
    "Options": tuple,
    "ImageType": tuple,
    "contrast": bool,
    "derived": bool,
    "angio": bool,
}
"""Times in ms, lengths in mm; `Spacing` is the distance between slices."""
_MOST_CHARACTERS = 1000
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFilter:
    """A parsed condition."""

    text: str
    condition: Condition

    def __call__(self, facts: Mapping[str, Any]) -> bool:
        """Return whether the facts of an image meet the condition."""
        return bool(self.condition(facts))


def parse_filter(text: str, flag: str) -> ImageFilter:
    """Return the condition that a text states about the facts of an image.

    Raises UsageError, which names the part that is not understood and the names that are known.
    """
    parser = _Parser(text, flag)
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= _MOST_CHARACTERS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        raise parser.error("it is no condition")
    condition, kind = parser.condition(tree.body)
    if kind is not bool:
        raise parser.error("it is a value, not a condition; compare it with something")
    return ImageFilter(text=text, condition=condition)


class _Parser:
    """Turns nodes of the tree into functions of the facts, each with the type of its value."""

    def __init__(self, text: str, flag: str) -> None:
        self._text, self._flag = text, flag
        self._names = {name.lower(): name for name in FACT_NAMES}

    def error(self, found: str) -> UsageError:
        return UsageError(
            f"{self._flag} {self._text[:200]!r} is not understood: {found}. Compare "
            f"{', '.join(FACT_NAMES)} with numbers or quoted texts by <, <=, >, >=, ==, !=, in, "
            f"and join comparisons by and, or, not. For example: {self._flag} "
            "'EchoTime<30 and not contrast'."
        )

    def condition(self, node: ast.expr) -> tuple[Condition, type]:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self._truth(each) for each in values]
                join = all if isinstance(op, ast.And) else any
                return lambda facts: join(part(facts) for part in parts), bool
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                part = self._truth(operand)
                return lambda facts: not part(facts), bool
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                pairs = [
                    self._comparison(one, op, other)
                    for one, op, other in zip(sides, ops, comparators, strict=False)
                ]
                return lambda facts: all(pair(facts) for pair in pairs), bool
        return self._value(node)

    def _truth(self, node: ast.expr) -> Condition:
        condition, kind = self.condition(node)
        if kind is not bool:
            raise self.error(f"{ast.unparse(node)!r} is a value, not a condition")
        return condition

    def _comparison(self, one: ast.expr, op: ast.cmpop, other: ast.expr) -> Condition:
        compare = _COMPARISONS.get(type(op))
        (left, left_type), (right, right_type) = self._value(one), self._value(other)
        is_in = isinstance(op, ast.In | ast.NotIn)
        fits = right_type is tuple if is_in else left_type is right_type
        is_ordered = isinstance(op, ast.Eq | ast.NotEq) or is_in or left_type is float
        if compare is None or not fits or not is_ordered:
            raise self.error(f"{ast.unparse(one)!r} and {ast.unparse(other)!r} do not compare")

        def holds(facts: Mapping[str, Any]) -> bool:
            first, second = left(facts), right(facts)
            return first is not None and second is not None and compare(first, second)

        return holds

    def _value(self, node: ast.expr) -> tuple[Condition, type]:
        match node:
            case ast.Name(id=written):
                name = self._names.get(written.lower())
                if name is None:
                    raise self.error(f"{written!r} is no fact of an image")
                return lambda facts: facts.get(name), FACT_NAMES[name]
            case ast.Constant(value=str(value)):
                return lambda facts: value, str
            case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool):
                return lambda facts: value, float
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))):
                return lambda facts: -value, float
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                values = tuple(self._value(each)[0] for each in elements)
                return lambda facts: tuple(value(facts) for value in values), tuple
        raise self.error(f"{ast.unparse(node)!r} is neither a comparison, a name nor a value")
