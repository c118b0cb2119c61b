"""Every error this package raises on purpose.

::

    LLMBuilderError
    ├── ConfigError           (ValueError)         a generation option is unknown, out of range or contradicts another
    ├── ModelNotFoundError    (FileNotFoundError)  nothing at the given path that could be run
    ├── BundleError           (ValueError)         a bundle is damaged, tampered with or from a newer version
    ├── TokenizerError        (ValueError)         no tokenizer, or one that does not belong to the model
    ├── ContextOverflowError  (ValueError)         more tokens than the model's window holds
    ├── ConstraintError       (ValueError)         a constraint that cannot be met
    ├── DeviceError           (RuntimeError)       the execution device asked for is not there, or fails
    ├── BusyError             (RuntimeError)       more requests wait than may, or one has waited too long
    ├── ExportError           (RuntimeError)       a checkpoint cannot be exported
    └── FileError             (OSError)            a file cannot be written: the disk is full, or not ours

Each class is also the builtin a caller would expect, so ``except ValueError`` keeps working. Messages say what
was wrong, where, and what to do next, in no more than 500 characters that any terminal may print.
"""

from llmbuilder.showing import legible


class LLMBuilderError(Exception):
    """Base of all errors raised by llmbuilder."""

    def __init__(self, *args: object) -> None:
        """Keep the message as `legible` has it."""
        super().__init__(*(legible(part) if isinstance(part, str) else part for part in args))


class ConfigError(LLMBuilderError, ValueError):
    """A generation option is unknown, has a wrong type or value, or contradicts another one."""


class ModelNotFoundError(LLMBuilderError, FileNotFoundError):
    """There is no bundle or checkpoint at the given path."""


class BundleError(LLMBuilderError, ValueError):
    """A bundle's files do not match its manifest, or its manifest cannot be used."""


class TokenizerError(LLMBuilderError, ValueError):
    """A tokenizer is missing, unreadable, or does not belong to the model."""


class ContextOverflowError(LLMBuilderError, ValueError):
    """The prompt, or the prompt with its continuation, does not fit the model's window."""


class ConstraintError(LLMBuilderError, ValueError):
    """A constraint cannot be met; the message says which and why."""


class DeviceError(LLMBuilderError, RuntimeError):
    """The requested execution device or ONNX Runtime build is not available, or a computation on it failed."""


class BusyError(LLMBuilderError, RuntimeError):
    """More requests are waiting than may, or one has waited for longer than it may."""


class ExportError(LLMBuilderError, RuntimeError):
    """A checkpoint cannot be turned into a bundle."""


class FileError(LLMBuilderError, OSError):
    """A file cannot be written; the message names it."""


class translated:  # noqa: N801 (used like `contextlib.suppress`)
    """A block that calls a library of somebody else: whatever fails there is an error of ours. May be used again.

    Errors that are ours already stay what they are, and so does what ends a program, such as `KeyboardInterrupt`.

    Raises:
        LLMBuilderError: of this ``kind``, with the failure, what the library says of it, and the advice.
    """

    __slots__ = ("_advice", "_failure", "_kind")

    def __init__(self, kind: type[LLMBuilderError], failure: str, advice: str) -> None:
        """Say this where the block fails."""
        self._kind, self._failure, self._advice = kind, failure, advice

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Translate what was raised."""
        if error is None or isinstance(error, LLMBuilderError):
            return
        # Rust's panics are no exceptions to Python; all others may be of any class.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            said = " ".join(str(error).split())
            raise self._kind(f"{self._failure} ({said}). {self._advice}") from error
