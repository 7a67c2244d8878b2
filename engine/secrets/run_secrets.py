"""The secrets of one claimed run: placeholders and values for its inputs, masks for all its output."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from engine.errors import StepError
from engine.secrets.key_ring import KeyLostError, NoKeyError, Sealed
from engine.secrets.masks import Masker
from engine.secrets.placeholders import PLACEHOLDER, Offsets, Placeholders
from engine.secrets.redaction import Redaction, put, texts
from engine.secrets.store import SecretStore
from engine.secrets.url_masks import maskers_of_parts
from engine.step_values import encode_input, encode_output, json_details

LARGE_SEARCH = 20_000_000
"""Number of compared characters above which a search runs in a thread, so that it does not block the event loop.
Comparing as many takes about 5 ms."""


@dataclass(frozen=True, slots=True)
class RedactedOutput:
    """An output with redacted parts."""

    whole: Any
    """The output that later steps see. The parts that are not redacted are masked."""
    shown: Any
    text: str
    """`shown` as JSON text."""
    sealed: str | None
    """The redacted parts, encrypted; None if there are none."""


class RunSecrets:
    """The secrets of one claimed run.

    It masks the values of the project that the last `refresh` read, and the values that the run itself has used.
    """

    def __init__(self, store: SecretStore, project_id: UUID, environment: str) -> None:
        self.marker = secrets.token_hex(8)
        """The value of `secrets` in the scope of templates; see `engine.secrets.placeholders`."""
        self._store = store
        self._project_id = project_id
        self._environment = environment
        self._placeholders = Placeholders(self.marker)
        self._of_project = Masker()
        self._of_run = Masker()
        self._of_parts: Sequence[Masker] = ()
        """Of the parts of URLs that the run has used. Outputs keep such parts: later steps use them."""
        self._used: set[str] = set()
        self._lost_key: str | None = None

    async def refresh(self) -> None:
        """Read the masks of the project again if they may have changed.

        Raises:
            DatabaseUnavailableError: the database cannot be reached.
        """
        self._of_project = await self._store.masker(self._project_id)

    def shown(self, value: Any) -> Any:
        """Returns a rendered value in the form that is journalled: with placeholders."""
        return self._placeholders.shown(value)

    def located(self, value: Any) -> tuple[Any, Offsets]:
        """Returns the rendered input of a child run in the form that is journalled, masked, and the positions of its
        placeholders.

        Raises:
            StepError: TEMPLATE_ERROR, a secret is encoded and so cannot be passed on.
        """
        return self._placeholders.located(self._without_values(value))

    def inserted(self, value: Any, offsets: Mapping[str, list[int]]) -> Any:
        """Returns the input of this run with the references that its parent passed on."""
        return self._placeholders.inserted(value, offsets)

    async def actual(self, value: Any) -> Any:
        """Returns a rendered value with the current values of its secrets. These values are masked from now on.

        Raises:
            StepError: SECRET_NOT_FOUND, SECRET_UNREADABLE.
            DatabaseUnavailableError: the database cannot be reached.
        """
        names = self._placeholders.names(value)
        if not names:
            return self._placeholders.shown(value)
        values = await self._store.values(self._project_id, self._environment, names)
        self.add_masks(values.values())
        return self._placeholders.actual(value, values)

    def add_masks(self, values: Iterable[str]) -> None:
        """Mask these values in all further output of the run."""
        if not self._used.issuperset(values := set(values)):
            self._used |= values
            self._of_run = Masker(self._used)
            self._of_parts = maskers_of_parts(self._used)

    def text(self, text: str) -> str:
        """Returns `text` with placeholders instead of references, and with values masked."""
        return self._of_project.text(self._of_run.text(self._placeholders.shown(text)))

    def log_line(self, text: str) -> str:
        """Returns a line of the run's log: `text`, with the parts of URLs masked, too."""
        text = self.text(text)
        for masker in self._of_parts:
            text = masker.text(text)
        return text

    def check_readable(self) -> None:
        """Check that the redacted outputs of earlier steps were decrypted.

        Raises:
            StepError: SECRET_UNREADABLE.
        """
        if self._lost_key is not None:
            message = (
                f"A redacted output of an earlier step cannot be decrypted: the key {self._lost_key} is missing in"
                " FLOWRUNS_SECRET_KEYS of this worker."
            )
            raise StepError("SECRET_UNREADABLE", message)

    async def redacted(self, redaction: Redaction, step: str, output: Any) -> "RedactedOutput":
        """Returns an output in the form that the journal keeps and the form that later steps see.

        Raises:
            StepError: OUTPUT_TOO_LARGE, OUTPUT_NOT_JSON, SECRET_KEYS_MISSING.
        """
        encode_output(output)
        shown, removed = redaction.removed(output)
        self.add_masks(text for _, part in removed for text in texts(part))
        shown, text = await self.output(shown)
        if not removed:
            return RedactedOutput(shown, shown, text, None)
        document = orjson.dumps(removed).decode()
        try:
            sealed = self._store.keys.seal(document, output_context(self._project_id, step))
        except NoKeyError:
            message = "No key encrypts redacted outputs. The operator must set FLOWRUNS_SECRET_KEYS."
            raise StepError("SECRET_KEYS_MISSING", message, retryable=False) from None
        return RedactedOutput(put(shown, dict(removed)), shown, text, f"{sealed.key_id}:{sealed.text}")

    def restored(self, step: str, shown: Any, sealed: str) -> Any:
        """Returns the output of an earlier step with its encrypted parts decrypted; see `check_readable`."""
        key_id, _, text = sealed.partition(":")
        try:
            removed = orjson.loads(self._store.keys.open(Sealed(key_id, text), output_context(self._project_id, step)))
        except KeyLostError as error:
            self._lost_key = error.key_id
            return shown
        self.add_masks(text for _, part in removed for text in texts(part))
        return put(shown, {tuple(place): part for place, part in removed})

    async def input(self, redaction: Redaction, value: Any) -> str:
        """Returns a shown input as JSON text, with parts redacted and values masked.

        Raises:
            StepError: INPUT_TOO_LARGE, OUTPUT_NOT_JSON.
        """
        if redaction:
            value, removed = redaction.removed(value)
            # Secrets are masked separately: their placeholders may be shown elsewhere.
            found = (text for _, part in removed for text in texts(part))
            self.add_masks(text for text in found if not PLACEHOLDER.search(text))
        text = encode_input(value)
        return encode_input(self._masked(value)) if await self._is_found(text) else text

    async def output(self, value: Any) -> tuple[Any, str]:
        """Returns an output with values masked, and as JSON text.

        Raises:
            StepError: OUTPUT_TOO_LARGE, OUTPUT_NOT_JSON.
        """
        text = encode_output(value)
        if not await self._is_found(text):
            return value, text
        masked = self._masked(value)
        return masked, encode_output(masked)

    def error(self, error: StepError, redaction: Redaction | None = None) -> StepError:
        """Returns `error` with values, and the parts of URLs, masked in its code, message and details; and with the
        parts of a response redacted that `redaction` names in the output."""
        code, message, details = str(error.code), str(error.message), json_details(error)
        if redaction:
            details, removed = redaction.removed_of_error(details)
            self.add_masks(text for _, part in removed for text in texts(part))
        if not self._of_run.is_empty or not self._of_project.is_empty or self.marker in f"{message}{details}":
            code, message, details = (self._masked_cut(value) for value in (code, message, details))
        return StepError(code, message, retryable=error.retryable, details=details, retry_after=error.retry_after)

    def byte_forms(self) -> list[bytes]:
        """Returns the forms that are masked in files, longest first."""
        return [*self._of_run.byte_forms, *self._of_project.byte_forms]

    async def _is_found(self, text: str) -> bool:
        if self.marker in text:
            return True
        if self._of_run.is_empty and self._of_project.is_empty:
            return False
        maskers = (self._of_run, self._of_project)
        if sum(masker.work(len(text)) for masker in maskers) < LARGE_SEARCH:
            return any(masker.found_in_json(text) for masker in maskers)
        return await asyncio.to_thread(lambda: any(masker.found_in_json(text) for masker in maskers))

    def _masked(self, value: Any) -> Any:
        return self._without_values(self._placeholders.shown(value))

    def _masked_cut(self, value: Any) -> Any:
        """Returns a part of an error, which may have been cut, masked."""
        value = self._without_values(self._placeholders.shown(value), was_cut=True)
        for masker in self._of_parts:
            value = masker.value(value, was_cut=True)
        return value

    def _without_values(self, value: Any, *, was_cut: bool = False) -> Any:
        for masker in (self._of_run, self._of_project):
            if not masker.is_empty:
                value = masker.value(value, was_cut=was_cut)
        return value


def output_context(project_id: UUID, step: str) -> str:
    """Returns the context in which redacted outputs of a step are encrypted. Retries of a run copy them."""
    return f"output {project_id} {step}"
