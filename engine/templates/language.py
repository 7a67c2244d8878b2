"""The template language: which templates are allowed, and how they are compiled to safe code.

Jinja2 parses the source. The tree may hold only the nodes, names, filters, tests and methods that this module lists;
other templates are refused when a flow is published. Then each operation in the tree is replaced by a call of our
functions (operations.py, filters.py), so the code that Jinja2 compiles only assigns, branches, loops and calls those
functions. It runs in Jinja2's immutable sandbox as a second line of defence: the code holds no operator, attribute or
method of Python that the sandbox would have to check.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from domain.json_codec import KIB
from engine.secrets.placeholders import ENCODINGS
from engine.templates.filters import FILTERS, TESTS
from engine.templates.meter import Meter
from engine.templates.operations import METHODS, OPERATIONS, Operation

MAX_SOURCE = 16 * KIB
"""Largest number of characters of one template."""
MAX_DEPTH = 40
"""Largest depth of the parsed template. Python's own compiler fails at about twice as many levels."""
MAX_NODES = 2_000
"""Largest number of nodes of one template. Each takes about 50 µs to compile."""
LOOP_NAMES = frozenset({"item", "index"})
"""Variables that only templates of loops can use."""
SCOPE_NAMES = frozenset({"run", "steps"}) | LOOP_NAMES
"""Variables that the templates of flows can use."""

_SECRETS = "secrets"
"""The variable with the secrets of the project: each field is one of them."""
_SECRET_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")
_MARK = "\N{SECTION SIGN}"
"""Prefix of the names of operations. No template can use such a name."""

_BINARY: dict[type[nodes.Node], str] = {
    nodes.Add: "add",
    nodes.Sub: "sub",
    nodes.Mul: "mul",
    nodes.Div: "div",
    nodes.FloorDiv: "floordiv",
    nodes.Mod: "mod",
    nodes.Pow: "pow",
}
_UNARY: dict[type[nodes.Node], str] = {nodes.Neg: "neg", nodes.Pos: "pos"}
_ALLOWED: frozenset[type[nodes.Node]] = frozenset(
    {
        *_BINARY,
        *_UNARY,
        nodes.And,
        nodes.Assign,
        nodes.Call,
        nodes.Compare,
        nodes.Concat,
        nodes.CondExpr,
        nodes.Const,
        nodes.Dict,
        nodes.Filter,
        nodes.For,
        nodes.Getattr,
        nodes.Getitem,
        nodes.If,
        nodes.Keyword,
        nodes.List,
        nodes.Name,
        nodes.Not,
        nodes.Operand,
        nodes.Or,
        nodes.Output,
        nodes.Pair,
        nodes.Slice,
        nodes.Template,
        nodes.TemplateData,
        nodes.Test,
        nodes.Tuple,
    }
)


class LanguageError(ValueError):
    """A template does not compile, or uses a construct that is not allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class MeteredContext(Context):
    """The variables of a render, and its meter."""

    meter: Meter


def _bound(operation: Operation) -> Callable[..., Any]:
    @pass_context
    def call(context: MeteredContext, *args: Any, **kwargs: Any) -> Any:
        return operation(context.meter, *args, **kwargs)

    return call


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = NativeCodeGenerator
    context_class = MeteredContext


def _environment() -> _Environment:
    # The last line break of a JSON string is kept. Constants are not folded at compile time, because that would not be
    # metered.
    environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True, optimized=False, cache_size=0)
    environment.globals = {}
    environment.tests = {name: _bound(test) for name, test in TESTS.items()}
    environment.filters = {name: _bound(function) for name, function in FILTERS.items()}
    environment.filters.update({_MARK + name: _bound(operation) for name, operation in OPERATIONS.items()})
    return environment


ENVIRONMENT = _environment()


class Compiled(NamedTuple):
    """A compiled template."""

    template: Template
    is_expression: bool
    """True if the template is a single `{{ … }}`, with optional white space around it: it renders to its value, not to
    text."""
    cost: int
    """Number of nodes: the steps of one evaluation, without the iterations of loops."""
    secrets: frozenset[str]
    """Names of the secrets to which the template refers."""


def compile_source(source: str, inserted: str = "text", names: frozenset[str] = SCOPE_NAMES) -> Compiled:
    """Compiles the template in `source`, which may use the variables `names`.

    The operation `inserted` writes the values that stand between other text.

    Raises:
        LanguageError: `source` is not a template, or not an allowed one.
    """
    tree, secrets = _parsed(source, names)
    expression = _lone_expression(tree)
    is_expression = expression is not None
    if expression is not None:
        tree.body = [nodes.Output([expression], lineno=expression.lineno)]
    cost = _cost(tree)
    try:
        template = ENVIRONMENT.from_string(_rewritten_tree(tree, "value" if is_expression else inserted))
    except (TemplateError, SyntaxError, RecursionError, MemoryError) as error:
        # The checks should have found every such error, but Python's compiler has limits of its own.
        raise LanguageError(f"The template does not compile: {error}") from None
    return Compiled(template, is_expression, cost, secrets)


def _parsed(source: str, names: frozenset[str]) -> tuple[nodes.Template, frozenset[str]]:
    if len(source) > MAX_SOURCE:
        raise LanguageError(f"A template may have {MAX_SOURCE:,} characters; this one has {len(source):,}")
    try:
        tree = ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise LanguageError(f"{error.message} (line {error.lineno})") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        # Python refuses to read numbers of thousands of digits.
        raise LanguageError(str(error)) from None
    return tree, _check(tree, names)


def _cost(tree: nodes.Node) -> int:
    return 1 + sum(1 for _ in tree.find_all(nodes.Node))


def _lone_expression(tree: nodes.Template) -> nodes.Expr | None:
    """Returns the expression of a template that consists of one expression and white space; None if it has anything
    else."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return None
    shown = [node for node in tree.body[0].nodes if not _is_blank(node)]
    return shown[0] if len(shown) == 1 and not isinstance(shown[0], nodes.TemplateData) else None


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _rewritten_tree(tree: nodes.Template, shown: str) -> nodes.Template:
    """Returns `tree` with its operations replaced by calls of our functions; output passes through the operation
    `shown`."""
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            node if isinstance(node, nodes.TemplateData) else _operation(shown, node) for node in output.nodes
        ]
    _rewrite_children(tree)
    tree.set_environment(ENVIRONMENT)
    return tree


def _check(tree: nodes.Template, names: frozenset[str]) -> frozenset[str]:
    """Checks that everything in `tree` is allowed; returns the names of the secrets to which it refers."""
    known = names | {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    has_secrets = _SECRETS not in known
    if has_secrets:
        known |= {_SECRETS}
    if "loop" in known:
        raise LanguageError("`loop` is the name of the object that describes a loop")
    if tree.find(nodes.For) is not None:
        known |= {"loop"}
    for node in _by_depth(tree):
        if type(node) not in _ALLOWED:
            raise _refused(node, f"`{type(node).__name__.lower()}` is not available in templates")
        check = _CHECKS.get(type(node))
        if check is not None:
            check(node)
        if isinstance(node, nodes.Name) and node.ctx == "load" and node.name not in known:
            seen = " and ".join(f"`{name}`" for name in sorted(names - LOOP_NAMES))
            raise _refused(node, f"{node.name!r} is unknown here: a template can use {seen}")
    return frozenset(_secrets(tree, is_whole=False)) if has_secrets else frozenset()


def _secrets(node: nodes.Node, *, is_whole: bool) -> Iterator[str]:
    """Yields the names of the secrets below `node`, and marks the nodes that refer to them.

    A template can only put a secret into its text (`is_whole`), alone or beside other text. No condition can test a
    secret and no operation can take it apart, so its value is always found where it is repeated.
    """
    if isinstance(node, nodes.Name) and node.name == _SECRETS:
        raise _refused(node, "`secrets` is not a value: write `secrets.NAME`")
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        name = _secret_name(node)
        if name is not None:
            if not is_whole:
                message = f"`secrets.{name}` can only be put into text unchanged, or through `b64encode` or `urlencode`"
                raise _refused(node, message)
            yield name
            return
    for child in node.iter_child_nodes():
        yield from _secrets(child, is_whole=_keeps_whole(node, child, is_whole=is_whole))


def _secret_name(node: nodes.Getattr | nodes.Getitem) -> str | None:
    if not isinstance(node.node, nodes.Name) or node.node.name != _SECRETS:
        return None
    name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
        raise _refused(node, "The name of a secret must have 1 to 100 letters, digits and underscores: `secrets.NAME`")
    # No template can write this name, and no local variable can have it.
    node.node.name = _MARK + _SECRETS
    return name


def _keeps_whole(node: nodes.Node, child: nodes.Node, *, is_whole: bool) -> bool:
    if isinstance(node, nodes.Output):
        return True
    if isinstance(node, nodes.Concat):
        return is_whole
    if isinstance(node, nodes.CondExpr):
        return is_whole and child is not node.test
    return is_whole and isinstance(node, nodes.Filter) and node.name in ENCODINGS and child is node.node


def _by_depth(tree: nodes.Template) -> Iterator[nodes.Node]:
    level: list[nodes.Node] = [tree]
    count = 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_NODES:
            raise LanguageError(f"A template may have {MAX_NODES:,} names, values and operators; this one has more")
        yield from level
        level = [child for node in level for child in _checked_children(node)]
        if not level:
            return
    raise _too_deep()


def _checked_children(node: nodes.Node) -> Iterator[nodes.Node]:
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        # The name of a function is not a variable.
        yield from node.iter_child_nodes(exclude=("node",))
    else:
        yield from node.iter_child_nodes()


def _too_deep() -> LanguageError:
    return LanguageError("The template is nested too deeply")


def _refused(node: nodes.Node, message: str) -> LanguageError:
    return LanguageError(f"{message} (line {node.lineno})")


def _check_const(node: nodes.Const) -> None:
    value = node.value
    if isinstance(value, float) and value - value != 0.0:
        raise _refused(node, "The number is out of range")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise _refused(node, "The number is out of range")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise _refused(node, "The string has half of a surrogate pair")


def _check_for(node: nodes.For) -> None:
    if node.recursive:
        raise _refused(node, "Recursive loops are not available in templates")


def _check_filter(node: nodes.Filter) -> None:
    if node.node is None or node.name not in FILTERS:
        raise _refused(node, f"No filter is called {node.name!r}; the filters are: {', '.join(sorted(FILTERS))}")
    _check_arguments(node, FILTERS[node.name], f"The filter {node.name!r}")


def _check_test(node: nodes.Test) -> None:
    if node.name not in TESTS:
        raise _refused(node, f"No test is called {node.name!r}; the tests are: {', '.join(sorted(TESTS))}")
    _check_arguments(node, TESTS[node.name], f"The test {node.name!r}")


def _check_arguments(node: nodes.Filter | nodes.Test | nodes.Call, function: Operation | None, what: str) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise _refused(node, "`*` and `**` are not available in calls")
    names = [str(keyword.key) for keyword in node.kwargs]
    if len(names) > len(set(names)):
        raise _refused(node, f"{what}: an argument is given twice")
    if function is None:
        return
    try:
        inspect.signature(function).bind(None, None, *node.args, **dict.fromkeys(names))
    except TypeError as error:
        raise _refused(node, f"{what}: {error}") from None


def _check_call(node: nodes.Call) -> None:
    target = node.node
    if isinstance(target, nodes.Name) and target.name == "range":
        _check_arguments(node, None, "range")
        if node.kwargs or not 1 <= len(node.args) <= 3:
            raise _refused(node, "range takes one to three numbers")
    elif isinstance(target, nodes.Getattr) and target.attr in METHODS:
        functions = list(METHODS[target.attr].values())
        _check_arguments(node, functions[0] if len(functions) == 1 else None, f"{target.attr}()")
    else:
        name = target.attr if isinstance(target, nodes.Getattr) else getattr(target, "name", "this")
        raise _refused(node, f"{name}() cannot be called; the functions are: range, {', '.join(sorted(METHODS))}")


_CHECKS: dict[type[nodes.Node], Callable[[Any], None]] = {
    nodes.Const: _check_const,
    nodes.For: _check_for,
    nodes.Filter: _check_filter,
    nodes.Test: _check_test,
    nodes.Call: _check_call,
}


def _rewrite_children(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_rewritten(child) if isinstance(child, nodes.Node) else child for child in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _rewritten(value))


def _rewritten(node: nodes.Node) -> nodes.Node:
    rewriting = _REWRITINGS.get(type(node))
    changed = node if rewriting is None else rewriting(node)
    _rewrite_children(changed)
    return changed


def _operation(
    name: str, subject: nodes.Node | None, *args: nodes.Expr, kwargs: list[nodes.Keyword] | None = None
) -> nodes.Filter:
    subject = subject or nodes.Const(None)
    return nodes.Filter(subject, _MARK + name, list(args), kwargs or [], None, None, lineno=subject.lineno or 1)


def _binary(node: nodes.BinExpr) -> nodes.Node:
    return _operation(_BINARY[type(node)], node.left, node.right)


def _unary(node: nodes.UnaryExpr) -> nodes.Node:
    return _operation(_UNARY[type(node)], node.node)


def _is_secret(node: nodes.Getattr | nodes.Getitem) -> bool:
    return isinstance(node.node, nodes.Name) and node.node.name == _MARK + _SECRETS


def _attribute(node: nodes.Getattr) -> nodes.Node:
    if _is_secret(node):
        return _operation("secret", None, nodes.Const(node.attr))
    return _operation("item", node.node, nodes.Const(node.attr), nodes.Const(_path(node.node)))


def _subscript(node: nodes.Getitem) -> nodes.Node:
    arg = node.arg
    if _is_secret(node):
        return _operation("secret", None, arg)
    if isinstance(arg, nodes.Slice):
        bounds: list[nodes.Expr] = [bound or nodes.Const(None) for bound in (arg.start, arg.stop, arg.step)]
        return _operation("slice", node.node, *bounds)
    return _operation("item", node.node, arg, nodes.Const(_path(node.node)))


def _path(node: nodes.Node) -> str:
    """Returns the path of `node` as the template writes it; empty if it is not a plain path."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        before = _path(node.node)
        return before and f"{before}.{node.attr}"
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before = _path(node.node)
        return before and f"{before}[{node.arg.value!r}]"
    return ""


def _call(node: nodes.Call) -> nodes.Node:
    target = node.node
    if isinstance(target, nodes.Getattr):
        return _operation("call", target.node, nodes.Const(target.attr), *node.args, kwargs=node.kwargs)
    return _operation("range", None, *node.args)


def _comparison(node: nodes.Compare) -> nodes.Node:
    steps: list[nodes.Expr] = []
    for operand in node.ops:
        steps += [nodes.Const(operand.op), operand.expr]
    return _operation("compare", node.expr, *steps)


def _list(node: nodes.List | nodes.Tuple) -> nodes.Node:
    if isinstance(node, nodes.Tuple) and node.ctx != "load":
        return node
    return _operation("list", None, *node.items)


def _dict(node: nodes.Dict) -> nodes.Node:
    return _operation("dict", None, *(part for pair in node.items for part in (pair.key, pair.value)))


def _concat(node: nodes.Concat) -> nodes.Node:
    return _operation("concat", node.nodes[0], *node.nodes[1:])


def _conditional(node: nodes.CondExpr) -> nodes.Node:
    if node.expr2 is None:
        # Jinja's undefined value for this case is not strict.
        node.expr2 = _operation("nothing", None)
    return node


def _for(node: nodes.For) -> nodes.Node:
    # Each iteration pays for the whole body in advance, so branches and names in it need no counting.
    node.iter = _operation("loop", node.iter, nodes.Const(_cost(node)))
    return node


_REWRITINGS: dict[type[nodes.Node], Callable[[Any], nodes.Node]] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    nodes.Getattr: _attribute,
    nodes.Getitem: _subscript,
    nodes.Call: _call,
    nodes.Compare: _comparison,
    nodes.List: _list,
    nodes.Tuple: _list,
    nodes.Dict: _dict,
    nodes.Concat: _concat,
    nodes.CondExpr: _conditional,
    nodes.For: _for,
}
