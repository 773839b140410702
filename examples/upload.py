"""Uploads a run's bag to an S3-like store: a step for runchain. Python 3.11 and boto3.

Safe to run any number of times: a file's key is its place in the bag and its digest stands beside it,
so that what is there already is left alone, and the bag's own manifest goes last. Whoever finds
tagmanifest-sha256.txt below a run's folder finds a whole bag.
"""

import base64
import hashlib
import json
import os
import pathlib
import sys

import boto3
import botocore.exceptions

NOT_NOW = 75  # EX_TEMPFAIL: runchain tries again and uses up no last attempt by it
NEVER = 78  # EX_CONFIG: trying again can't help
LAST = "tagmanifest-sha256.txt"


def digest_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def is_there(store, bucket: str, key: str, digest: str) -> bool:
    try:
        found = store.head_object(Bucket=bucket, Key=key)
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return found["Metadata"].get("sha256") == digest


def main() -> int:
    run = json.load(sys.stdin)
    bag, bucket = pathlib.Path(os.environ["RUNCHAIN_BAG"]), os.environ["S3_BUCKET"]
    # The bag's own folder name is safe in a key, whatever the run's id looks like.
    prefix = f"{bag.name}/{run['generation']}"
    store = boto3.client("s3")
    files = sorted(path for path in bag.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name == LAST)
    sent = 0
    for path in files:
        key, digest = f"{prefix}/{path.relative_to(bag).as_posix()}", digest_of(path)
        if not is_there(store, bucket, key, digest):
            # The store compares the digest with what has arrived.
            with path.open("rb") as file:
                store.put_object(
                    Bucket=bucket, Key=key, Body=file, ChecksumSHA256=digest, Metadata={"sha256": digest}
                )
            sent += 1
    # The last line is the step's result: the steps after this one get it.
    print(json.dumps({"url": f"s3://{bucket}/{prefix}/", "files": len(files), "sent": sent}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except botocore.exceptions.EndpointConnectionError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_NOW)
    except (botocore.exceptions.NoCredentialsError, KeyError) as error:
        print(f"not configured: {error}", file=sys.stderr)
        sys.exit(NEVER)
