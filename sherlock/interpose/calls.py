"""Sees, changes, records and replays the model calls of a node execution.

`install()` puts the hooks in place once per process; they do nothing outside a `CallScope`. The calls are seen where
they leave the process, at the HTTP clients, and, for models that do not use HTTP, at LangChain's chat models.
"""

import os
import threading

from sherlock.interpose.messages import Message
from sherlock.interpose.recording import MissingCall, Recordings
from sherlock.interpose.scope import CallScope, Meter, ModelCall, current_scope

__all__ = ["CallScope", "Message", "Meter", "MissingCall", "ModelCall", "Recordings", "current_scope", "install"]

_lock = threading.Lock()
_installed = False


def install() -> None:
    """Put the hooks in place. Doing it again, from any thread, does nothing."""
    global _installed  # noqa: PLW0603  (patching is per process, and so is this)
    with _lock:
        if _installed:
            return
        from sherlock.interpose.http import patch_clients
        from sherlock.interpose.langchain_layer import patch_chat_models
        from sherlock.interpose.threads import patch_threads

        os.environ["LITELLM_RUST"] = "0"  # its native client would send past the hooks
        patch_clients()
        patch_chat_models()
        patch_threads()
        _installed = True
