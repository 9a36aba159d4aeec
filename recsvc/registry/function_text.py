"""What an on-demand function does, as text that is the same in every process.

It counts the function's source without comments, layout and docstring, the constants that it takes from around it, and
the functions of the same file that it calls. Libraries do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache, partial
from types import CodeType, FunctionType
from typing import Any, Final

import numpy as np

_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), date, time, timedelta, Enum)
_FILES_KEPT: Final = 16
"""Parsed source files: many functions come from one."""


def function_text(function: Callable[..., Any]) -> str:
    """Return the text of a function, a partial, or an object that can be called."""
    return "\n".join(_lines(function, set()))


def _lines(function: object, seen: set[int]) -> Iterator[str]:
    """Yield the texts of a callable and of what it uses; ``seen`` has the ids of those that were yielded already."""
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, partial):
        yield f"partial {_constant(function.args)} {_constant(function.keywords)}"
        yield from _lines(function.func, seen)
    elif isinstance(function, FunctionType):
        yield _source(function.__code__)
        yield f"{_constant(function.__defaults__)} {_constant(function.__kwdefaults__)}"
        yield from _used(function, seen)
    elif isinstance(getattr(type(function), "__call__", None), FunctionType):  # noqa: B004  # the method is wanted, not a yes
        yield f"{type(function).__qualname__} {_constant(getattr(function, '__dict__', None))}"
        yield from _lines(type(function).__call__, seen)
    else:
        yield f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _used(function: FunctionType, seen: set[int]) -> Iterator[str]:
    """Yield what the function takes from around it, by name."""
    code, around = function.__code__, function.__globals__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    captured = {n: _content(c) for n, c in cells.items()}
    named = {n: around[n] for n in _names(code) if n in around and n not in captured}
    for name, value in sorted((captured | named).items()):
        if isinstance(value, FunctionType | partial):
            if name in captured or getattr(value, "__globals__", around) is around:
                yield name
                yield from _lines(value, seen)
        elif not inspect.ismodule(value) and not isinstance(value, type):
            yield f"{name} = {_constant(value)}"


def _names(code: CodeType) -> set[str]:
    """Return the names that the code, or code inside it, may look up around the function."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: Any) -> object:  # noqa: ANN401  # a cell of a closure has no public type
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _constant(value: object) -> str:
    """Return a text of a value that does not depend on the process; of an object that we do not know, its type."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype}{value.shape} {digest}" if value.dtype.kind != "O" else _constant(value.tolist())
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_constant, value))}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_constant(k)}: {_constant(v)}' for k, v in value.items()))}}}"
    return type(value).__qualname__


def _source(code: CodeType) -> str:
    """Return the code's own piece of its file; where there is none, what it was compiled to."""
    try:
        lines, _ = inspect.findsource(code)
        tree = _parsed("".join(lines))
    except (OSError, SyntaxError):
        node = None
    else:
        node = _node_of(code, tree)
    if node is None:
        constants = [_source(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
        return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
    return ast.unparse(_bare(node))


@lru_cache(_FILES_KEPT)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def _node_of(code: CodeType, tree: ast.Module) -> _Function | None:
    """Find the definition that was compiled to ``code``: of those that begin on its line, the tightest around it."""
    fitting = [n for n in ast.walk(tree) if isinstance(n, _Function) and _first_line(n) == code.co_firstlineno]
    fitting = [n for n in fitting if getattr(n, "name", "<lambda>") == code.co_name and _covers(n, code)]
    return max(fitting, key=lambda n: (n.lineno, n.col_offset), default=None)


def _first_line(node: _Function) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _covers(node: _Function, code: CodeType) -> bool:
    """Whether all that ``code`` was compiled from, as far as it knows, lies in ``node`` (of a lambda: in its body)."""
    inside = node.body if isinstance(node, ast.Lambda) else node
    begin, end = (inside.lineno, inside.col_offset), (inside.end_lineno or 0, inside.end_col_offset or 0)
    if inside is node:
        begin = (_first_line(node), 0)
    places = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    return all(begin <= (p[0], p[2]) and (p[1], p[3]) <= end for p in places)


def _bare(node: _Function) -> ast.AST:
    """Return the definition without its docstring, its name and its annotations, which change nothing that it does."""
    if isinstance(node, ast.Lambda):
        return node
    body = node.body
    if ast.get_docstring(node) is not None:
        body = body[1:] or [ast.Pass()]
    return ast.FunctionDef("function", node.args, body, [], lineno=node.lineno, col_offset=node.col_offset)
