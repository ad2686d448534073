"""The row of `acetate render` in the verb table. Pure data."""

from __future__ import annotations

from .verb import Verb, argument

RENDER = Verb(
    "render",
    "render JOBS -o DIR [--set NAME=VALUE]... [--vary NAME=VALUES]... [--inputs DIR] [--workers N] [--threads T] "
    "[--writers W] [--retries R] [--max-megapixels M] [--cluster ADDRESS] [--copy-to URL] [--dry-run] [--json]",
    "render a list of jobs, unattended; the same command again resumes",
    "render:render",
    (
        argument(
            "jobs", metavar="JOBS", help="the list: .jsonl, .csv, or a folder of pictures to take apart"
        ),
        argument(
            "-o",
            "--output",
            metavar="DIR",
            required=True,
            help="a folder for the results, one folder for each job",
        ),
        argument(
            "--set",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="a field for jobs that do not have it, such as outputs=psd,zip, or a variable for {NAME} in texts",
        ),
        argument(
            "--vary",
            metavar="NAME=VALUES",
            action="append",
            default=[],
            help="make every job once per value: seed=1..8, or colour=red,blue with {colour} in a text",
        ),
        argument(
            "--inputs",
            metavar="DIR",
            help="where inputs lie, the only folder they may come from (default: that of JOBS); or s3://bucket/folder",
        ),
        argument(
            "--workers", metavar="N", type=int, default=1, help="processes with a model each (default: 1)"
        ),
        argument(
            "--threads", metavar="T", type=int, default=1, help="CPU threads of a worker's model (default: 1)"
        ),
        argument(
            "--writers", metavar="W", type=int, default=2, help="threads of a worker that write (default: 2)"
        ),
        argument(
            "--retries",
            metavar="R",
            type=int,
            default=2,
            help="new tries after a failure that may pass (default: 2)",
        ),
        argument(
            "--max-megapixels",
            metavar="M",
            type=int,
            default=100,
            help="larger inputs are rejected (default: 100)",
        ),
        argument(
            "--cluster",
            metavar="ADDRESS",
            help="run on Ray: auto, local, or ray://HOST:PORT (pip install 'acetate[cluster]')",
        ),
        argument(
            "--copy-to",
            metavar="URL",
            help="also copy every result to an object store, such as s3://bucket/results (fsspec)",
        ),
        argument("--dry-run", action="store_true", help="check everything and print the plan; write nothing"),
        argument("--json", action="store_true", help="print JSON"),
        argument("-q", "--quiet", action="store_true", help="no progress"),
    ),
    "acetate render jobs.jsonl -o results --workers 2",
)
