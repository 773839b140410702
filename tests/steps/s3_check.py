"""Downloads everything from the bucket into the folder given."""

import pathlib
import sys

import boto3

store = boto3.client("s3")
for found in store.list_objects_v2(Bucket="bags").get("Contents", []):
    path = pathlib.Path(sys.argv[1]) / found["Key"]
    path.parent.mkdir(parents=True, exist_ok=True)
    store.download_file("bags", found["Key"], str(path))
