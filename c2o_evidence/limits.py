"""How large anything from outside may be, with the reason: every limit of the readers is here and nowhere else.

A limit is far above what a real suite has and far below what makes a machine swap. Memory follows from the bytes read:
Python's values take about twenty times the bytes of the JSON or TSV they are read from. Who meets one with honest data
reads its name and value in the message, and can raise it here: nothing else depends on the numbers.
"""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# A bundle as a directory. A suite of 1000 checkpoints has about 10 000 files, four levels deep.
MAX_FILES = 200_000  # files and directories of a bundle
MAX_DEPTH = 32  # directories above a file; below the recursion of any tool that removes or copies the tree
MAX_PATH = 1024  # bytes of a path in UTF-8; a quarter of what Linux can open, so that a root fits before it
MAX_NAME = 255  # bytes of one part of a path: what file systems can hold
MAX_SUMS = 32 * MIB  # SHA256SUMS: 200 000 lines of 160 bytes
MAX_PROBLEMS = 1000  # damaged lines of one list that are named one by one
MAX_FINDINGS = 10_000  # findings that a report holds; a bundle with more is not worth a longer list

# A file that is mostly hole declares what no disk holds: hashing 1 TB of zeros takes an hour and no attacker's effort.
MAX_FILE = 256 * GIB  # the largest checkpoint published anywhere in one file has a tenth of that
SPARSE_FROM = 1 * GIB  # smaller ones are hashed in a second or two, holes and all
SPARSE_RATIO = 16  # most declared bytes for a byte of data

# Tables and texts, in bytes.
MAX_TABLE = 64 * MIB  # 1000 runs on the 1203 classes of LVIS, with VOC's AP beside COCO's, have 48 MiB
MAX_COLUMNS = 10_000  # LVIS with both has 2416
MAX_TEXT = 16 * MIB  # a page, a Markdown or LaTeX table, a figure as SVG
MAX_CRATE = 64 * MIB  # RO-Crate metadata: 150 000 files at 400 bytes
MAX_SIDECAR = 4 * KIB  # a line with a digest and a name
MAX_RECORD = 4 * MIB  # 20 000 files at 200 bytes
MAX_STATE = 1 * MIB  # progress.json, entry.json: some hundred bytes
MAX_DATA_MANIFEST = 256 * MIB  # the 1.7 million files of Objects365 at 110 bytes
MAX_ANNOTATIONS = 512 * MIB  # COCO's train2017, with outlines, has 448 MiB; what is evaluated on is smaller
MAX_JSON_VALUES = 40_000_000  # about 60 bytes of memory each; COCO's train2017 has 35 million

# Results files of other origin, read a line at a time; a run takes 700 bytes of memory.
MAX_FOREIGN_LINE = 1 * MIB  # a row of an archive has 400 bytes
MAX_FOREIGN_RUNS = 1_000_000  # of all files together; the archive has about 2000

# A gallery: what a sampler sees, step by step, and pictures for a page.
MAX_GALLERY = 2 * MIB  # 50 steps of 300 boxes at 60 bytes: 1 MB; its schema takes seconds for a megabyte
MAX_GALLERY_PICTURE = 8 * MIB  # a PNG of 1024 x 1024 px without compression has 3

# Configurations. PyYAML reads about 100 kB a second, and the schema's checks of lists are quadratic.
MAX_YAML = 512 * KIB  # the largest resolved suite has 60 kB
MAX_YAML_NODES = 100_000  # values after aliases are written out
MAX_YAML_ITEMS = 5_000  # of one list or mapping
MAX_YAML_DEPTH = 60
MAX_YAML_NUMBER = 40  # characters of a number; 64 bits have 20
MAX_TRAININGS = 20_000  # of a suite: experiments x train seeds
MAX_RUNS = 100_000  # of a suite: rows x train seeds x eval seeds

# Headers of .safetensors files. The format allows 100 MB; as JSON that may take 2 GB.
MAX_CHECKPOINT_HEADER = 8 * MIB  # 60 000 tensors at 140 bytes
MAX_DETECTIONS_HEADER = 16 * MIB  # 35 000 runs of four tensors
MAX_DETECTIONS_FILE = 4 * GIB  # 5 eval seeds on the 80 000 images of Objects365's val at 300 a picture: 3.6 GiB
MAX_DETECTIONS_PER_IMAGE = 1_000  # of one run, on average; evaluation counts 100 an image and class

# Annotations that are evaluated on: pycocotools holds 100 kB a category, and looks at each category of each image.
MAX_CATEGORIES = 5_000  # LVIS has 1203
MAX_PAIRS = 100_000_000  # images x categories; LVIS val has 24 million, Objects365 val 29 million
MAX_BOXES_PER_IMAGE = 20_000  # crowds have some hundreds; evaluation holds 100 x boxes numbers of one image and class

# Data sets as their publishers give them: `c2o data check` reads their files a record at a time.
MAX_SET_FILE = 32 * GIB  # the JSON of Objects365's train has about 6
MAX_SET_RECORD = 16 * MIB  # of one image or object; an outline of COCO's has some hundred kB
MAX_SET_LINE = 4 * MIB  # of an .odgt file: an image with its persons has 5 kB
MAX_SET_IMAGES = 20_000_000  # of a split; about 300 bytes of memory each. Objects365's train has 1.7 million
MAX_SET_CLASSES = 100_000  # LVIS has 1203
MAX_SET_XML = 1 * MIB  # an annotation of VOC has a few kB
MAX_SET_LIST = 64 * MIB  # a list of image names
MAX_SET_PIXELS = 89_478_485  # of a picture; Pillow warns above it
MAX_SET_PICTURE = 1 * GIB  # bytes of a picture's file

# What is printed.
MAX_CELL = 200  # characters of one cell or path on a terminal
MAX_MESSAGE = 2_000  # characters of one message
