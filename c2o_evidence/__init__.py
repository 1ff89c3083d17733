"""Evidence of C2O: digests, records, tables and bundles that let every published number be checked from
files alone.

The package needs neither torch nor detectron2 and imports its heavy helpers (scipy, pycocotools,
jsonschema) only where they are used, so that `c2o verify` starts at once.
"""

__version__ = "0.1.0"
