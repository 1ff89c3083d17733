"""What is known of the public data sets, and from where. Nothing here is guessed: what no source states is left out.

Sources. COCO, LVIS and VOC: sizes and SHA-256 of the archives from the checksum lists of TensorFlow Datasets. COCO:
digests and sizes of the JSON files and numbers of images and boxes from several public evaluations that state them
alike. VOC: the tables in the development kits of 2007 and 2012, which leave difficult objects out. LVIS: numbers of its
publisher's page; the digest of train's JSON was computed by a public audit from the archive with the digest here, that
of val's is pinned by one public evaluation. CrowdHuman: numbers of train from the paper; digests and sizes as its
author's own repository of the set lists them, which is not where its site points. Objects365: images of train from
public loaders that counted what the archives hold (the JSON has three more, which were never published), its boxes from
one public loader; of val's JSON one public evaluation pins digest and numbers; disk use from a public loader, in whole
GiB.
"""

from __future__ import annotations

from collections.abc import Mapping

from c2o_evidence.datasets.kinds import Archive, DataSet, Split
from c2o_evidence.limits import GIB

_COCO_IMAGES = {"train": 118_287, "val": 5_000}
_COCO_BOXES = {"train": 860_001, "val": 36_781}
_COCO_SIZE = {"train": 469_785_474, "val": 19_987_840}
_COCO_SHA256 = {
    "train": "610fce4944abdeb15354cc765333805529359d12d88f2f711393ca586901d01d",
    "val": "e8c7f7908f1d7278341fae127d0da654f102f11bd7b21d8aeefa635b8c810b6f",
}
_COCO_JSON = "annotations_trainval2017.zip"
_COCO_ARCHIVES = (
    Archive(
        "train2017.zip",
        "coco/train2017/*.jpg",
        19_336_861_798,
        19_336_861_798,
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    Archive(
        "val2017.zip",
        "coco/val2017/*.jpg",
        815_585_330,
        814_705_164,
        "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
    Archive(
        _COCO_JSON,
        "coco/annotations/*.json",
        252_907_541,
        834_416_290,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    ),
)
_COCO_TERMS = "annotations CC BY 4.0; the images under the terms of use of Flickr"


def _coco() -> DataSet:
    splits = tuple(
        Split(
            name=f"coco_2017_{split}",
            format="coco",
            annotation=f"coco/annotations/instances_{split}2017.json",
            images=f"coco/{split}2017",
            classes=80,
            image_count=_COCO_IMAGES[split],
            boxes=_COCO_BOXES[split],
            size=_COCO_SIZE[split],
            sha256=_COCO_SHA256[split],
            annotation_from=_COCO_JSON,
            images_from=f"{split}2017.zip",
            alone=True,
        )
        for split in ("train", "val")
    )
    return DataSet("coco", "COCO 2017", "cocodataset.org", _COCO_TERMS, splits, _COCO_ARCHIVES)


def _lvis() -> DataSet:
    images, boxes = {"train": 100_170, "val": 19_809}, {"train": 1_270_141, "val": 244_707}
    digests = {
        "train": "3741bead824ff960d4f3780a33988588289a58fa3505ee8a6fb7d6a7b1629487",
        "val": "2bf946b92c3037f53c172d80017f5b74ea035f00a21b20e0766b3b638b2363f9",
    }
    splits = tuple(
        Split(
            name=f"lvis_v1_{split}",
            format="lvis",
            annotation=f"lvis/lvis_v1_{split}.json",
            images="coco",
            classes=1203,
            image_count=images[split],
            boxes=boxes[split],
            size=1_097_154_875 if split == "train" else None,
            sha256=digests[split],
            certain=False,
            annotation_from=f"lvis_v1_{split}.json.zip",
            images_from="train2017.zip" if split == "train" else "train2017.zip and val2017.zip",
        )
        for split in ("train", "val")
    )
    archives = (
        Archive(
            "lvis_v1_train.json.zip",
            "lvis/lvis_v1_train.json",
            350_264_821,
            1_097_154_875,
            "334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba",
        ),
        Archive(
            "lvis_v1_val.json.zip",
            "lvis/lvis_v1_val.json",
            64_026_968,
            None,
            "5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5",
        ),
        *_COCO_ARCHIVES[:2],
    )
    remark = "its images are COCO 2017's, and images of val lie in train2017 too: both archives are needed for either"
    terms = "annotations CC BY 4.0; images as COCO's"
    return DataSet("lvis_v1", "LVIS v1", "lvisdataset.org", terms, splits, archives, "coco", (remark,))


def _voc(year: str) -> DataSet:
    top = f"VOC{year}"
    # List -> images, objects that are not difficult; archive.
    counts = {
        "2007": {"trainval": (5011, 12608), "train": (2501, 6301), "val": (2510, 6307), "test": (4952, 12032)},
        "2012": {"trainval": (11540, 27450), "train": (5717, 13609), "val": (5823, 13841)},
    }[year]
    trainval = {"2007": "VOCtrainval_06-Nov-2007.tar", "2012": "VOCtrainval_11-May-2012.tar"}[year]
    from_archive = {name: "VOCtest_06-Nov-2007.tar" if name == "test" else trainval for name in counts}
    splits = tuple(
        Split(
            name=f"voc_{year}_{name}",
            format="voc",
            annotation=f"{top}/ImageSets/Main/{name}.txt",
            images=f"{top}/JPEGImages",
            classes=20,
            image_count=images,
            plain_boxes=objects,
            more=(f"{top}/Annotations",),
            annotation_from=from_archive[name],
            images_from=from_archive[name],
        )
        for name, (images, objects) in counts.items()
    )
    gives = f"{top}/{{Annotations,ImageSets,JPEGImages}}"
    archives = {
        "2007": (
            Archive(
                trainval,
                gives,
                460_032_000,
                460_032_000,
                "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
            ),
            Archive(
                "VOCtest_06-Nov-2007.tar",
                gives,
                451_020_800,
                451_020_800,
                "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
            ),
        ),
        "2012": (
            Archive(
                trainval,
                gives,
                1_999_639_040,
                1_999_639_040,
                "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
            ),
        ),
    }[year]
    remarks = (f"the archives unpack to VOCdevkit/{top}: move {top} out of VOCdevkit",)
    title, site = f"PASCAL VOC {year}", f"host.robots.ox.ac.uk/pascal/VOC/voc{year}"
    return DataSet(
        f"voc_{year}", title, site, "the images under the terms of use of Flickr", splits, archives, remarks=remarks
    )


def _crowdhuman() -> DataSet:
    # Persons of val are not stated by its paper.
    train = Split(
        name="crowdhuman_train",
        format="odgt",
        annotation="crowdhuman/annotation_train.odgt",
        images="crowdhuman/Images",
        classes=1,
        image_count=15_000,
        boxes=438_792,
        plain_boxes=339_565,
        size=80_017_502,
        sha256="6bf241a79f19e30cf52681eab3392368bd5a534164be9272e7a808cb284d9f77",
        certain=False,
        annotation_from="annotation_train.odgt",
        images_from="CrowdHuman_train01.zip, CrowdHuman_train02.zip and CrowdHuman_train03.zip",
    )
    val = Split(
        name="crowdhuman_val",
        format="odgt",
        annotation="crowdhuman/annotation_val.odgt",
        images="crowdhuman/Images",
        classes=1,
        image_count=4_370,
        size=23_323_139,
        sha256="be422c79a190ff7e30fe5cbd74cbf45a2dadda6c5af58c6ec11a038ba2993c04",
        certain=False,
        annotation_from="annotation_val.odgt",
        images_from="CrowdHuman_val.zip",
    )
    images = "crowdhuman/Images/*.jpg"
    zips = {
        "train01": (2_970_597_373, "7ba340163cff0f2446027af95dc96bcb9c66be18506eabb57822c400a7efd3b8"),
        "train02": (3_092_749_718, "d9ecfb43eaf8381ddd4d1ff4e9a0877b694dbfba7a7a33ed3966ee2c2a628663"),
        "train03": (2_306_357_030, "9cac171914c4f5c7371e3d42d20b50858caa1602811ae573aa35bbfe672dc29f"),
        "val": (2_488_658_160, "c0ab99bb80ac162cd3efdf94a1a6100c4f059a61d69596412c6b44ebc20d1363"),
    }
    archives = tuple(
        Archive(f"CrowdHuman_{name}.zip", images, size, size, sha256) for name, (size, sha256) in zips.items()
    )
    files = tuple(
        Archive(split.annotation_from, split.annotation, split.size, split.size, split.sha256) for split in (train, val)
    )
    remarks = ("every archive has a directory Images; all four go into the one crowdhuman/Images",)
    terms = "for research and teaching that is not commercial; not to be passed on"
    return DataSet(
        "crowdhuman", "CrowdHuman", "crowdhuman.org", terms, (train, val), (*archives, *files), remarks=remarks
    )


def _objects365() -> DataSet:
    never = (
        "patch6/objects365_v1_00320532.jpg",
        "patch6/objects365_v1_00320534.jpg",
        "patch16/objects365_v2_00908726.jpg",
    )
    train = Split(
        name="objects365_train",
        format="objects365",
        annotation="objects365/annotations/zhiyuan_objv2_train.json",
        images="objects365/train",
        classes=365,
        image_count=1_742_292,
        boxes=25_407_598,
        annotation_from="zhiyuan_objv2_train.tar.gz",
        images_from="train's patch0.tar.gz … patch50.tar.gz",
        alone=True,
        never_published=frozenset(never),
    )
    val = Split(
        name="objects365_val",
        format="objects365",
        annotation="objects365/annotations/zhiyuan_objv2_val.json",
        images="objects365/val",
        classes=365,
        image_count=80_000,
        boxes=1_240_587,
        size=269_422_006,
        sha256="b5b6a043f3b36c1865240a3e23fc4cbbf627052d72b6a4428a993bf2549d4424",
        certain=False,
        annotation_from="zhiyuan_objv2_val.json",
        images_from="val's patch0.tar.gz … patch43.tar.gz",
        alone=True,
    )
    archives = (
        Archive(
            "train/patch0.tar.gz … patch50.tar.gz", "objects365/train/patchN/*.jpg", 345 * GIB, 367 * GIB, files=51
        ),
        Archive("val/…/patch0.tar.gz … patch43.tar.gz", "objects365/val/patchN/*.jpg", files=44),
        Archive("zhiyuan_objv2_train.tar.gz", train.annotation),
        Archive("zhiyuan_objv2_val.json", val.annotation, val.size, val.size, val.sha256),
    )
    remarks = (
        "the sizes beside train's patches are those of all archives and of all that they unpack to",
        "val's patches 0 to 15 lie with the publisher in v1, 16 to 43 in v2; unpacked they share objects365/val",
        "three images of train's annotations are in no archive",
    )
    terms = "annotations CC BY 4.0; the images for academic use"
    return DataSet("objects365", "Objects365 v2", "objects365.org", terms, (train, val), archives, remarks=remarks)


def _repro10k() -> DataSet:
    splits = tuple(
        Split(
            name=f"repro10k_{split}",
            format="repro10k",
            annotation=f"coco/annotations/instances_{split}2017.json",
            images=f"coco/{split}2017",
            classes=80,  # of the file; three are drawn from
            image_count=_COCO_IMAGES[split],
            boxes=_COCO_BOXES[split],
            size=_COCO_SIZE[split],
            sha256=_COCO_SHA256[split],
            annotation_from=_COCO_JSON,
            images_from=f"{split}2017.zip",
            alone=True,
        )
        for split in ("train", "val")
    )
    remark = (
        "drawn from COCO 2017 when it is loaded: 10 000 images of train, all of val, with car, motorcycle or person"
    )
    return DataSet(
        name="repro10k",
        title="Repro-10k",
        site="cocodataset.org",
        terms=_COCO_TERMS,
        splits=splits,
        archives=_COCO_ARCHIVES,
        needs="coco",
        remarks=(remark,),
        share=15_000 / 123_287,
    )


DATASETS: Mapping[str, DataSet] = {
    found.name: found
    for found in (_coco(), _lvis(), _voc("2007"), _voc("2012"), _crowdhuman(), _objects365(), _repro10k())
}
"""Every set by the name of its family."""
