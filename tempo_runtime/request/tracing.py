"""Find out whether this process traces what is called without a server.

It does not import OpenTelemetry: a process that has configured a tracer provider has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_API = "opentelemetry.trace"


def tracer() -> Tracer | None:
    """Return a tracer of OpenTelemetry's global tracer provider; None if nobody has configured one."""
    api = sys.modules.get(_API)
    if api is None or not hasattr(api, "get_tracer_provider"):  # or another thread is importing it
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    # Imported here, because it imports OpenTelemetry.
    from tempo_runtime.request.spans import tracer_of

    return tracer_of(provider)
