"""Sends spans by OTLP over HTTP, and says in the log when the collector ceases to take them, and takes them again."""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

_LIBRARY: Final = logging.getLogger(trace_exporter.__name__)
"""Logs each attempt of each export."""
_QUEUE: Final = logging.getLogger("opentelemetry.sdk._shared_internal")
"""Warns again and again of a full queue, which fills only while exports fail."""
_logger = logging.getLogger(__name__)


class _Kept(logging.Filter):
    """Keeps messages out of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps the message."""
        self.messages.append(record.getMessage())
        return False


class OtlpExporter(OTLPSpanExporter):
    """The exporter of the library, which logs several lines for each batch while the collector is away; this one logs
    one when exports begin to fail, and one when they succeed again."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._is_closed = False
        _QUEUE.setLevel(logging.ERROR)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends a batch; blocks until the collector has taken it, or no attempt is left."""
        kept = _Kept()
        _LIBRARY.addFilter(kept)
        try:
            result = super().export(spans)
        finally:
            _LIBRARY.removeFilter(kept)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                _logger.warning("The collector takes traces again. At least %s spans were lost", f"{self._lost:,}")
            self._lost = 0
            return result
        if not self._lost:
            reason = kept.messages[0] if kept.messages else "no reason given"
            _logger.error("The collector does not take traces, and they are lost until it does: %s", reason)
        self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Gives up what is being sent. Does nothing the second time."""
        if not self._is_closed:
            self._is_closed = True
            super().shutdown()  # type: ignore[no-untyped-call]  # the library gives it no types
