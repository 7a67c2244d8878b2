"""HTML of the pages of answer links. `Markup.format` escapes all values: titles and schemas are written by others."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from markupsafe import Markup

from service.answers.form import Field, FieldKind

_STYLE: Final = Markup("""
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 40rem; padding: 2rem 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } p { overflow-wrap: anywhere; white-space: pre-line }
label, legend { display: block; font-weight: 600; margin-top: 1rem; overflow-wrap: anywhere }
:is(h1, p, label, legend) { unicode-bidi: plaintext }
.option { font-weight: 400; margin-top: .25rem } .option input { width: auto }
.help { margin: .25rem 0 } fieldset { border: 1px solid; border-radius: .5rem; margin: 1rem 0; padding: 0 1rem 1rem }
input, textarea { box-sizing: border-box; font: inherit; padding: .5rem; width: 100% }
button { font: inherit; font-weight: 600; margin-top: 1.5rem; padding: .5rem 1.5rem }
.problems { border: 2px solid; border-radius: .5rem; padding: 0 1rem }
""")
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""The policy of the pages: nothing is loaded and no script runs, whatever a page holds."""

_PAGE: Final = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
    "<title>{title}</title><style>{style}</style></head>\n<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
)


def message(title: str, text: str) -> str:
    """Returns a page with a message."""
    return _page(title, Markup("<p>{}</p>").format(text))


def question(
    title: str,
    description: str | None,
    root: Field,
    values: Mapping[str, Sequence[str]],
    problems: Sequence[str],
) -> str:
    """Returns the page with the form of a question. `values` are those of the form, by the names of its fields."""
    parts = [Markup("<p>{}</p>\n").format(description)] if description else []
    if problems:
        listed = Markup("").join(Markup("<li>{}</li>").format(problem) for problem in problems)
        heading = "Your answer was not sent:"
        parts.append(Markup('<div class="problems" role="alert"><p>{}</p><ul>{}</ul></div>\n').format(heading, listed))
    # A group at the top needs no frame: its members are the form.
    fields = root.members.values() if root.kind is FieldKind.GROUP else [root]
    drawn = Markup("\n").join(_drawn(each, values) for each in fields)
    form = Markup('<form method="post" accept-charset="utf-8" autocomplete="off">\n{}\n<button>{}</button></form>\n')
    parts.append(form.format(drawn, "Send the answer"))
    return _page(title, Markup("").join(parts))


def _page(title: str, body: Markup) -> str:
    return _PAGE.format(title=title, style=_STYLE, body=body)


def _drawn(field: Field, values: Mapping[str, Sequence[str]]) -> Markup:
    label = f"{field.label} (required)" if field.required and field.kind is not FieldKind.GROUP else field.label
    hint, described = Markup(""), Markup("")
    if field.help is not None:
        hint = Markup('<p class="help" id="{}-help">{}</p>').format(field.name, field.help)
        described = Markup(' aria-describedby="{}-help"').format(field.name)
    if field.kind in (FieldKind.GROUP, FieldKind.CHOICE, FieldKind.CHOICES):
        if field.kind is FieldKind.GROUP:
            inner = Markup("\n").join(_drawn(each, values) for each in field.members.values())
        else:
            inner = Markup("").join(_option(field, index, values) for index in range(len(field.options)))
        return Markup("<fieldset{}><legend>{}</legend>{}{}</fieldset>").format(described, label, hint, inner)
    text = next(iter(values.get(field.name, ())), "")
    needed = Markup(" required") if field.required and field.kind is not FieldKind.TEXT else Markup("")
    shared = Markup('id="{0}" name="{0}"{1}{2}').format(field.name, described, needed)
    if field.kind in (FieldKind.LONG_TEXT, FieldKind.JSON):
        # The parser drops a line break behind the tag, so that one at the start of the text stays.
        control = Markup('<textarea {} rows="6">\n{}</textarea>').format(shared, text)
    elif field.kind is FieldKind.NUMBER:
        control = Markup('<input {} inputmode="decimal" value="{}">').format(shared, text)
    else:
        control = Markup('<input {} type="{}" value="{}">').format(shared, field.input_type, text)
    return Markup('<label for="{}">{}</label>{}{}').format(field.name, label, hint, control)


def _option(field: Field, index: int, values: Mapping[str, Sequence[str]]) -> Markup:
    is_single = field.kind is FieldKind.CHOICE
    checked = Markup(" checked") if str(index) in values.get(field.name, ()) else Markup("")
    needed = Markup(" required") if is_single and field.required else Markup("")
    control = Markup('<label class="option"><input type="{}" name="{}" value="{}"{}{}> {}</label>')
    kind = "radio" if is_single else "checkbox"
    return control.format(kind, field.name, index, checked, needed, field.options[index][0])
