"""The errors a user can meet, each saying `FILE: KEY: VALUE what is wrong; what to do`."""


class EvidenceError(Exception):
    """Base of all errors of this package; `str(error)` is meant to be shown to the user as it is."""


class SuiteError(EvidenceError):
    """A suite, model or data configuration is wrong."""


class DigestError(EvidenceError):
    """A file is not the file it should be (digest, size or sidecar differ)."""


class TableError(EvidenceError):
    """A TSV, or the data a table is made from, breaks its schema."""


class DetectionsError(EvidenceError):
    """A file of stored detections is malformed."""


class RecordError(EvidenceError):
    """A record is malformed or of a version this release does not read."""


class LockError(EvidenceError):
    """Another process holds a lock for longer than we are ready to wait."""


class SlotError(EvidenceError):
    """The GPUs that a job needs are not there, or cannot be shared out."""


class ClusterError(EvidenceError):
    """SLURM cannot be used, or does not do what it is asked."""


class UnsafePathError(EvidenceError):
    """A path read from a file would leave the directory it belongs to."""


class FrozenError(EvidenceError):
    """A frozen deliverable would be changed."""


class DataSetError(EvidenceError):
    """A data set is unknown or absent, or a file of it cannot be read as what it should be."""
