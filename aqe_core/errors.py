"""Every error aqe raises on purpose.

::

    AqeError
    ├── UsageError                  wrong use of a command or call
    ├── ConfigError                 a config file or environment variable is wrong
    │   └── UnknownKeyError         a key nobody knows (with the nearest one that exists)
    ├── PluginError                 something about a plugin
    │   ├── UnknownBackendError     no plugin, installed or known, has that name
    │   ├── MissingExtraError       known, but not installed: names the install command
    │   ├── BrokenPluginError       installed, but fails to import or to answer
    │   ├── DuplicateNameError      two distributions claim one name
    │   ├── ApiVersionError         written for another version of the plugin API
    │   ├── ContractError           its product does not fulfil the contract
    │   └── CapabilityError         it does not do what was asked of it
    ├── InputError (ValueError)     a value that no backend can use
    │   ├── DimensionError          a vector of the wrong length
    │   ├── NonFiniteError          NaN or infinity
    │   ├── FingerprintError        vectors of two embedders, or of one fitted twice
    │   ├── KeyRangeError           a key that is not an integer in 0 .. 2**64 - 2
    │   └── InvalidActionError      no action to choose from, or one outside the declared set
    ├── IngestError                 a file that cannot be read as what it claims to be
    │   ├── UnknownFormatError      no ingest format recognizes it
    │   ├── MalformedFileError      recognized, but broken or hostile
    │   └── FileTooLargeError       above the size limit
    └── StorageError                the durable truth
        ├── NoWorkspaceError        there is no workspace here
        ├── StorageBusyError        another process holds the write lock (says which)
        ├── ReadOnlyError           the folder or file cannot be written
        ├── FutureSchemaError       written by a newer aqe
        ├── CorruptStorageError     a checksum or the file's structure is wrong
        └── NotFoundError           no such record

Each error has a stable ``code`` (for programs), a message that says what was wrong and where, and a ``fix`` that says
what to do next.
"""

from __future__ import annotations

__all__ = [
    "ApiVersionError",
    "AqeError",
    "BrokenPluginError",
    "CapabilityError",
    "ConfigError",
    "ContractError",
    "CorruptStorageError",
    "DimensionError",
    "DuplicateNameError",
    "FileTooLargeError",
    "FingerprintError",
    "FutureSchemaError",
    "IngestError",
    "InputError",
    "InvalidActionError",
    "KeyRangeError",
    "MalformedFileError",
    "MissingExtraError",
    "NoWorkspaceError",
    "NonFiniteError",
    "NotFoundError",
    "PluginError",
    "ReadOnlyError",
    "StorageBusyError",
    "StorageError",
    "UnknownBackendError",
    "UnknownFormatError",
    "UnknownKeyError",
    "UsageError",
]


class AqeError(Exception):
    """Base of all errors that aqe raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, and where.
    fix : str
        What to do about it, in one sentence.

    Attributes
    ----------
    code : str
        Stable name of the kind of error, for programs and for ``--json``.
    """

    code = "aqe"

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} Fix: {self.fix}" if self.fix else self.message

    def to_dict(self) -> dict[str, str]:
        """Return ``{"code", "message", "fix"}``, the form that ``--json`` prints."""
        return {"code": self.code, "message": self.message, "fix": self.fix}


class UsageError(AqeError):
    """A command or call was used wrongly."""

    code = "usage"


class ConfigError(AqeError):
    """A config file or environment variable holds something wrong."""

    code = "config"


class UnknownKeyError(ConfigError):
    """A config key that nobody knows; the message names the nearest one that exists."""

    code = "config-unknown-key"


class PluginError(AqeError):
    """Something about a plugin is wrong."""

    code = "plugin"


class UnknownBackendError(PluginError):
    """No plugin, installed or known, offers an engine of that name."""

    code = "plugin-unknown"


class MissingExtraError(PluginError):
    """The backend is known but not installed; the fix is the exact install command."""

    code = "plugin-missing-extra"


class BrokenPluginError(PluginError):
    """The plugin is installed but fails; the original exception is the cause."""

    code = "plugin-broken"


class DuplicateNameError(PluginError):
    """Two distributions claim one name and the config pins neither."""

    code = "plugin-duplicate"


class ApiVersionError(PluginError):
    """The plugin was written for another version of the plugin API."""

    code = "plugin-api-version"


class ContractError(PluginError):
    """A plugin's product does not fulfil the contract that it claims."""

    code = "plugin-contract"


class CapabilityError(PluginError):
    """The engine does not do what was asked; its capabilities say so."""

    code = "plugin-capability"


class InputError(AqeError, ValueError):
    """A value that no backend can use; nothing was changed."""

    code = "input"


class DimensionError(InputError):
    """A vector or array of the wrong length."""

    code = "input-dimension"


class NonFiniteError(InputError):
    """NaN or infinity where a finite number is needed."""

    code = "input-non-finite"


class FingerprintError(InputError):
    """Vectors that cannot be compared: other embedders made them, or one that was fitted to something else."""

    code = "input-fingerprint"


class KeyRangeError(InputError):
    """A key that is not an integer in 0 .. 2**64 - 2."""

    code = "input-key"


class InvalidActionError(InputError):
    """No action to choose from, or an action outside the declared set."""

    code = "input-action"


class IngestError(AqeError):
    """A file cannot be read as what it claims to be; nothing of it was stored."""

    code = "ingest"


class UnknownFormatError(IngestError):
    """No installed ingest format recognizes the file."""

    code = "ingest-unknown-format"


class MalformedFileError(IngestError):
    """The file's format was recognized, but its content is broken or hostile."""

    code = "ingest-malformed"


class FileTooLargeError(IngestError):
    """The file is above the size limit for its format."""

    code = "ingest-too-large"


class StorageError(AqeError):
    """Something about the durable truth is wrong."""

    code = "storage"


class NoWorkspaceError(StorageError):
    """There is no workspace at this place."""

    code = "storage-no-workspace"


class StorageBusyError(StorageError):
    """Another process kept the write lock for longer than the timeout; the message names it."""

    code = "storage-busy"


class ReadOnlyError(StorageError):
    """The folder or file cannot be written."""

    code = "storage-read-only"


class FutureSchemaError(StorageError):
    """The file was written by a newer aqe than this one."""

    code = "storage-future"


class CorruptStorageError(StorageError):
    """A checksum or the structure of the file is wrong."""

    code = "storage-corrupt"


class NotFoundError(StorageError):
    """No record of that key or id."""

    code = "storage-not-found"
