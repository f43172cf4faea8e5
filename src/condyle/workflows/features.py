"""How alike the regions of scans look to a network: tables, a picture, and the features."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from condyle._version import __version__
from condyle.config.requests import FeaturesRequest
from condyle.core import Case, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, DamagedWeights, WeightsError
from condyle.features.maps import LAYERS, FeatureMaps, RuntimeName
from condyle.features.regions import BACKGROUND, Features, Mode, Pool, Scene, region_features
from condyle.features.similarity import Pair, scattered, similarities, standing
from condyle.io import (
    atomic_write,
    is_dataset,
    open_dataset,
    read,
    scans_by_name,
    sha256,
    write_text,
)
from condyle.io.label_names import scheme_named
from condyle.io.labelmaps import label_files, read_named
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb
from condyle.jobs.outputs import write_bytes, write_json, written_together
from condyle.jobs.records import OutputFolder, Record, done, failures
from condyle.networks.inflation.inflate import Strategy
from condyle.predict.runtimes.openvino import version as openvino_version
from condyle.report.tables import csv_text

__all__ = [
    "BATCH",
    "Compared",
    "Comparison",
    "FeatureTables",
    "compare",
    "features",
    "features_of_scans",
]


Scanned = tuple[Volume, LabelMap]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Parameters
    ----------
    regions : names of structures, and 'background'; all of them where none is given.
    mode : 'volume', each region in the whole scan with air everywhere else; or 'box', the box
        around it as the scan shows it.
    pool : average the maps over the 'volume', or over the 'region'.
    spacing : of the voxels that the network sees, in mm; 0 keeps the scan's own.
    window : what becomes black and white, in the scan's own numbers; else -1000 and 2000 HU for
        CT, and percentiles 0.5 and 99.5 of other scans.
    permutations : how often the regions are put at random places of the scan.
    seed : of these places.
    """

    regions: tuple[str, ...] = ()
    mode: Mode = "volume"
    pool: Pool = "volume"
    spacing: float = 1.5
    window: tuple[float, float] | None = None
    permutations: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.permutations < 0 or self.spacing < 0:
            raise ConfigError(
                f"permutations and spacing must not be negative: {self.permutations} and "
                f"{self.spacing:g} mm"
            )

    def scene(self, volume: Volume, labels: LabelMap, what: str = "the label map") -> Scene:
        """The regions of a scan, as they are compared."""
        return Scene.of(
            volume, labels, self.regions, spacing=self.spacing, window=self.window, what=what
        )


@dataclass(frozen=True, eq=False)
class Compared:
    """What came out for one scan.

    Parameters
    ----------
    similarities : pair of regions -> layer ('Last') -> cosine.
    standings : the same -> where it stands among random regions; see `measure.similarity`.
    features : region -> layer -> a number for each channel.
    facts : the grid that the network saw, the rule of intensities, and the random regions' overlap.
    """

    similarities: dict[Pair, dict[str, float]]
    standings: dict[Pair, dict[str, dict[str, float]]]
    features: Features
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "similarities": [[*pair, row] for pair, row in self.similarities.items()],
            "standings": [[*pair, row] for pair, row in self.standings.items()],
            "features": {
                region: {layer: values.astype(float).tolist() for layer, values in layers.items()}
                for region, layers in self.features.items()
            },
            "kinds": sorted({str(v.dtype) for x in self.features.values() for v in x.values()}),
            "facts": self.facts,
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Compared:
        """What `to_dict` gave."""
        (kind,) = tree["kinds"]
        return cls(
            {(one, other): row for one, other, row in tree["similarities"]},
            {(one, other): row for one, other, row in tree["standings"]},
            {
                region: {layer: np.array(values, kind) for layer, values in layers.items()}
                for region, layers in tree["features"].items()
            },
            tree["facts"],
        )

    def rows(self) -> list[dict[str, str]]:
        """A row a pair: Pair, Fifth-Last, Third-Last, Last; cosines with six decimals."""
        return [
            {"Pair": "-".join(pair), **{column: f"{found[column]:.6f}" for column in LAYERS}}
            for pair, found in self.similarities.items()
        ]

    def short_rows(self, most: int) -> list[dict[str, str]]:
        """The same of at most so many pairs, the most and the least alike in the last layer.

        With random regions, a column more has the p of the last layer.
        """
        rows = self.rows()
        for row, pair in zip(rows, self.similarities, strict=True):
            if pair in self.standings:
                row["p (Last)"] = f"{self.standings[pair]['Last']['p']:.2g}"
        rows.sort(key=lambda row: -float(row["Last"]))
        return rows if len(rows) <= most else [*rows[: most // 2], *rows[-(most - most // 2) :]]

    def standing_rows(self) -> list[dict[str, str]]:
        """A row a pair and layer: the cosine beside those of random regions."""
        return [
            {
                "Pair": "-".join(pair),
                "Layer": column,
                "Cosine": f"{self.similarities[pair][column]:.6f}",
                "Random median": f"{place['median']:.6f}",
                "Random 5 %": f"{place['low']:.6f}",
                "Random 95 %": f"{place['high']:.6f}",
                "Percentile": f"{place['percentile']:.1f}",
                "p": f"{place['p']:.4g}",
            }
            for pair, layers in self.standings.items()
            for column, place in layers.items()
        ]


def features(
    volume: Volume,
    labels: LabelMap,
    regions: Sequence[str] = (),
    *,
    encoder: str = "densenet121",
    inflation: Strategy = "average",
    weights: str = "imagenet",
    device: str = "auto",
    runtime: RuntimeName = "auto",
    **settings: Any,
) -> Compared:
    """How alike the regions of a scan look to a network of photographs, inflated to 3D.

    Parameters
    ----------
    volume, labels : on one grid.
    regions : names of structures, and 'background'; all of them where none is given.
    encoder, weights : as for a network's encoder: imagenet, none, or a file.
    inflation : average, center, scale or acs.
    device : auto, cpu, cuda or mps.
    runtime : auto, torch or openvino.
    settings : mode, pool, spacing, window, permutations and seed of `Comparison`.

    Raises
    ------
    GridMismatch, LabelError, WeightsError
        For labels on another grid, a region that is absent or too small, and missing weights.
    """
    how = Comparison(tuple(regions), **settings)
    scene = how.scene(volume, labels)
    return compare(FeatureMaps.of(encoder, inflation, weights, device, runtime), scene, how)


def compare(maps: FeatureMaps, scene: Scene, how: Comparison, job: Job | None = None) -> Compared:
    """The same with an encoder and regions that are ready; for many scans."""
    job = job or Job()
    found = region_features(maps, scene, how.mode, how.pool)
    real = similarities(found)
    tissue = scene.grey > scene.grey.mean()
    random: list[dict[Pair, dict[str, float]]] = []
    overlaps: list[float] = []
    for number in range(how.permutations):
        job.check()
        job.tell(number / how.permutations)
        made = np.random.default_rng((how.seed, number))
        shares, overlap = scattered(scene.shares, BACKGROUND, tissue, made)
        elsewhere = region_features(maps, scene.with_shares(shares), how.mode, how.pool)
        random.append(similarities(elsewhere))
        overlaps.append(overlap)
    standings = {
        pair: {c: standing(cosine, [one[pair][c] for one in random]) for c, cosine in row.items()}
        for pair, row in real.items()
        if random
    }
    facts: dict[str, Any] = {
        "shape": list(scene.grid.shape),
        "spacing_mm": [round(x, 6) for x in scene.grid.spacing],
        "intensities": scene.intensities,
    }
    if random:
        facts["random_overlap"] = round(float(np.mean(overlaps)), 4)
    return Compared(real, standings, found, facts)


@dataclass(frozen=True)
class FeatureTables:
    """What came out for each scan, and the sentence of each that failed."""

    done: dict[str, Compared]
    failed: dict[str, str]


@verb
def features_of_scans(request: FeaturesRequest, job: Job) -> FeatureTables:
    """Compare the regions of a scan, of a folder of scans, or of a data set; writes files.

    Beside `out`, a CSV, lie .json (how it was made), .npz (features), .png (heat map), and with
    permutations _random.csv. A scan and its label map give the columns Pair, Fifth-Last,
    Third-Last and Last; a data set, or two folders, Image before them.
    """
    if request.out.suffix.lower() != ".csv":
        raise ConfigError(
            f"`out` is the table to write and must end in .csv, not {request.out.name}"
        )
    return run_batch(BATCH, request, job)


def _how(request: FeaturesRequest) -> Comparison:
    return Comparison(
        request.regions, mode=request.mode, pool=request.pool, spacing=request.spacing,
        window=request.window, permutations=request.permutations, seed=request.seed,
    )  # fmt: skip


def _is_many(request: FeaturesRequest) -> bool:
    """Whether the scan is one of several, which have a column for their names."""
    return request.labelmap is None or request.labelmap.is_dir()


def _tasks(request: FeaturesRequest, job: Job) -> list[Task]:
    """The scans with their labels, and what reads both."""
    scan, labelmap = request.scan, request.labelmap
    if labelmap is None:
        if not is_dataset(scan):
            raise ConfigError(
                f"{scan} is not a data set: give a label map after the scan, or a folder of label "
                "maps after the folder of scans"
            )
        request.refuse({"scheme": "a data set names its labels itself"})
        cases = open_dataset(scan).labelled()
        return [
            Task(case.id, (*case.images, *([case.label] if case.label else [])),
                 given=partial(_of_case, case))
            for case in cases
        ]  # fmt: skip
    scans, scheme = scans_by_name([scan]), scheme_named(request.scheme)
    if not labelmap.is_dir():
        if len(scans) != 1:
            raise ConfigError(f"{scan} holds {len(scans)} scans, and {labelmap} is of one")
        labels = dict.fromkeys(scans, labelmap)
    else:
        labels = label_files([labelmap])
        alone = sorted(scans.keys() ^ labels.keys())
        if len(alone) == len(scans) + len(labels):
            raise ConfigError(
                f"no scan in {scan} has the name of a label map in {labelmap} (there, {alone[0]})"
            )
        if alone:
            missing = ", ".join(alone)
            job.warn(f"ignored, because the scan or the label map is missing: {missing}")
    return [
        Task(name, (scans[name], labels[name]),
             given=partial(_of_files, scans[name], labels[name], scheme))
        for name in labels
        if name in scans
    ]  # fmt: skip


def _compute(request: FeaturesRequest, task: Task, found: Scanned, job: Job) -> Done:
    how = _how(request)
    what = task.key if _is_many(request) else str(request.labelmap)
    scene = how.scene(*found, what)
    maps = job.keep("feature maps", lambda: _maps(request, job))
    made = compare(maps, scene, how, job)
    return Done(data={**made.to_dict(), "card": _card(maps, how)})


STUDYS, SHIPPED = "densenet121", "efficientnet_lite0"
"""The encoder of the femur study, and one whose weights come with Condyle."""


def _maps(request: FeaturesRequest, job: Job) -> FeatureMaps:
    """The encoder that is asked for; of `auto` the first whose weights can be had."""

    def made(encoder: str) -> FeatureMaps:
        return FeatureMaps.of(
            encoder, request.inflation, request.weights, request.device, request.runtime
        )

    if request.encoder != "auto":
        return made(request.encoder)
    try:
        return made(STUDYS)
    except DamagedWeights:
        raise
    except WeightsError:
        if request.weights != "imagenet":
            raise
        job.warn(
            f"the weights of {STUDYS} cannot be had on this machine: compared by {SHIPPED}; name "
            "an `encoder` to choose"
        )
        return made(SHIPPED)


def _require_one_encoder(cards: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to put features of different encoders into one table."""
    encoders = sorted({card["encoder"] for card in cards})
    if len(encoders) > 1:
        raise ConfigError(
            f"some scans were compared by {encoders[0]} and some by {encoders[1]}, whose weights "
            "could not be had everywhere: name one `encoder` and another `out`"
        )


def _gather(
    request: FeaturesRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> FeatureTables:
    many = _is_many(request)
    if not many:
        records[0].raise_failure()
    found = {record.key: Compared.from_dict(record.data) for record in done(records)}
    if found:
        _require_one_encoder([record.data["card"] for record in done(records)])
        with written_together():
            _write(request.out, found, many, done(records)[0].data["card"])
    return FeatureTables(found, failures(records))


BATCH = Batch(
    home="condyle.workflows.features:BATCH", stage="comparing", request=FeaturesRequest,
    tasks=_tasks, read=lambda request, task, job: task.given(), compute=_compute, gather=_gather,
    tables=lambda request: [request.out, *(_beside(request.out, ending) for ending in BESIDE)],
)  # fmt: skip


def _of_files(scan: Path, labelmap: Path, scheme: LabelScheme | None) -> Scanned:
    return read(scan), read_named(labelmap, scheme)


def _of_case(case: Case) -> Scanned:
    return case.image(), case.labels()


def _card(maps: FeatureMaps, how: Comparison) -> dict[str, Any]:
    """How the figures were made; nothing of this machine but its runtime."""
    weights: dict[str, Any] = {"origin": "random numbers, seed 0"}
    if maps.found:
        path = maps.found.path
        weights = {"origin": maps.found.origin, "file": path.name, "sha256": sha256(path)}
    return {
        "encoder": maps.encoder,
        "weights": weights,
        "inflation": {"strategy": maps.inflation, "depth": 3, "axis": "feet to head"},
        "layers": {c: {"name": n, "channels": k} for c, (n, k) in maps.names.items()},
        "regions": list(how.regions) or "all",
        "mode": how.mode,
        "pool": how.pool,
        "permutations": how.permutations,
        "seed": how.seed,
        "computed_by": maps.computed_by,
        "versions": {
            "condyle": __version__,
            **{name: version(name) for name in ("torch", "timm", "numpy")},
            "openvino": openvino_version(),
        },
    }


Rows = list[dict[str, str]]


BESIDE = (".json", ".npz", ".parquet", ".png", "_random.csv", ".html")
"""How the files end that are written beside the table."""


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(out.stem + ending)


def _write(out: Path, done: Mapping[str, Compared], many: bool, card: Mapping[str, Any]) -> None:
    """Write all files; the table, which says that all is done, comes last."""
    from condyle.report.heatmap import heatmap

    write_json(_beside(out, ".json"), {**card, "images": {n: one.facts for n, one in done.items()}})
    _write_features(_beside(out, ".npz"), done)
    picture = heatmap(
        [one.similarities for one in done.values()],
        [one.standings for one in done.values() if one.standings],
    )
    write_bytes(_beside(out, ".png"), picture)
    named = [({"Image": name} if many else {}, one) for name, one in done.items()]
    rows = [image | row for image, one in named for row in one.rows()]
    random = [image | row for image, one in named for row in one.standing_rows()]
    if random:
        write_text(_beside(out, "_random.csv"), csv_text(random))
    write_text(_beside(out, ".html"), _page(list(done), rows, random, picture, card))
    write_text(out, csv_text(rows))


MEANING = """A cosine says how alike the network finds two regions: 1, the same; the lower, the
more unlike. Most regions of a scan look alike, so that 0.98 is unremarkable: compare pairs of one
layer with each other, or with random regions of the same size and shape: a small p says that
these two regions are more alike, or less, than regions at random places."""


def _page(
    names: Sequence[str], rows: Rows, random: Rows, picture: bytes, card: Mapping[str, Any]
) -> str:
    """One page of all that was found, with what the figures are worth."""
    from condyle.report import parts

    scans = names[0] if len(names) == 1 else f"{len(names)} scans"
    said = f"encoder {card['encoder']}, weights: {card['weights']['origin']}"
    cosines = parts.image(picture, "cosine of each two regions", "surfaces")
    sections = [
        parts.section("Cosines", parts.paragraph(MEANING), cosines),
        parts.section("Pairs", parts.table(rows)),
        parts.section("Beside random regions", parts.table(random)),
        parts.section("How", parts.settings(card)),
    ]
    return parts.document(f"{scans}: regions compared by their features", said, "", sections)


def _write_features(path: Path, done: Mapping[str, Compared]) -> None:
    """Write the features of all regions: .npz, and .parquet too where pyarrow is installed."""
    places = [(name, region) for name, one in done.items() for region in one.features]
    columns = {
        "image": np.array([name for name, _ in places]),
        "region": np.array([region for _, region in places]),
    } | {c: np.stack([done[n].features[r][c] for n, r in places]) for c in LAYERS}
    stream = io.BytesIO()
    np.savez_compressed(stream, **columns)  # pyright: ignore[reportArgumentType]  arrays, no flags
    write_bytes(path, stream.getvalue())
    if find_spec("pyarrow"):
        import pandas

        with atomic_write(path.with_suffix(".parquet")) as temporary:
            pandas.DataFrame({c: list(values) for c, values in columns.items()}).to_parquet(
                temporary
            )
