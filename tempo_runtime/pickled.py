"""What a pickle would import, read without running it."""

from __future__ import annotations

import pickletools

from tempo_runtime.errors import ArtifactDamaged

_TEXT = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING")
_PUT = ("BINPUT", "LONG_BINPUT", "PUT")
_GET = ("BINGET", "LONG_BINGET", "GET")


def imports(data: bytes) -> list[str]:
    """Names that unpickling looks up, as `module.name`, each once, in order.

    They are read from the opcodes and the texts before them. A pickle that was made to deceive can hide
    a name from this, and is code all the same: it informs, and does not protect.

    Raises:
        ArtifactDamaged: If it is no pickle.
    """
    found: dict[str, None] = {}
    texts: list[str] = []
    memo: dict[int, str] = {}
    count = 0  # of objects that MEMOIZE has numbered
    last = ""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in _TEXT:
                last = str(argument)
                texts.append(last)
            elif name == "MEMOIZE":
                memo[count] = last
                count += 1
            elif name in _PUT:
                memo[int(str(argument))] = last
            elif name in _GET:
                last = memo.get(int(str(argument)), "")
                texts.append(last)
            elif name == "GLOBAL":
                found[str(argument).replace(" ", ".")] = None
                last = ""
            elif name != "FRAME":
                if name == "STACK_GLOBAL" and len(texts) > 1:
                    found[".".join(texts[-2:])] = None
                last = ""
    except Exception as error:
        raise ArtifactDamaged(f"not a pickle: {error}") from error
    return list(found)
